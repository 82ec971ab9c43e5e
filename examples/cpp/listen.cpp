// A wake word in C++ with onnxruntime's C API: ./listen verifier.audio.int8.onnx THRESHOLD < audio.s16le
// The verifier hears every hop. THRESHOLD stands in detector.json (thresholds, verifier). Build:
//   g++ -O2 -std=c++17 listen.cpp -I<onnxruntime>/include -L<onnxruntime>/lib -lonnxruntime -o listen
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

static const OrtApi *api = OrtGetApiBase()->GetApi(18);  // the C API of onnxruntime 1.18, or any later

static void check(OrtStatus *status) {
    if (!status) return;
    std::fprintf(stderr, "onnxruntime: %s\n", api->GetErrorMessage(status));
    std::exit(1);
}

int main(int argc, char **argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: listen MODEL THRESHOLD < audio.s16le\n"), 2;
    const float threshold = std::atof(argv[2]);
    constexpr int kHop = 1280, kSmoothing = 2;  // decision.smoothing_hops and the rest: see detector.json
    constexpr double kRefractory = 2.0, kRearm = 0.5;

    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtMemoryInfo *memory;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "wakeword", &env));
    check(api->CreateSessionOptions(&options));
    check(api->SetIntraOpNumThreads(options, 1));
    check(api->CreateSession(env, argv[1], options, &session));
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));

    OrtTypeInfo *type;  // audio [batch, N]: N is the window
    const OrtTensorTypeAndShapeInfo *info;
    int64_t shape[2];
    check(api->SessionGetInputTypeInfo(session, 0, &type));
    check(api->CastTypeInfoToTensorInfo(type, &info));
    check(api->GetDimensions(info, shape, 2));
    shape[0] = 1;
    std::vector<float> window(shape[1]);
    OrtValue *audio;
    check(api->CreateTensorWithDataAsOrtValue(memory, window.data(), window.size() * sizeof(float), shape, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &audio));
    std::vector<std::vector<float>> recent;
    std::vector<bool> armed;
    std::vector<double> silent_until;
    int16_t hop[kHop];
    for (int hops = 1; std::fread(hop, sizeof(int16_t), kHop, stdin) == kHop; ++hops) {
        std::copy(window.begin() + kHop, window.end(), window.begin());
        std::transform(hop, hop + kHop, window.end() - kHop, [](int16_t s) { return s / 32768.0f; });
        if (hops * kHop < shape[1]) continue;  // no full window of sound yet
        const char *in = "audio", *out = "posterior";
        OrtValue *result = nullptr;
        float *scores;
        size_t n;
        OrtTensorTypeAndShapeInfo *got;
        check(api->Run(session, nullptr, &in, &audio, 1, &out, 1, &result));
        check(api->GetTensorMutableData(result, reinterpret_cast<void **>(&scores)));
        check(api->GetTensorTypeAndShape(result, &got));
        check(api->GetTensorShapeElementCount(got, &n));
        recent.emplace_back(scores, scores + n);
        if (recent.size() > kSmoothing) recent.erase(recent.begin());
        armed.resize(n, true);
        silent_until.resize(n, 0.0);
        const double time = hops * (kHop / 16000.0);
        for (size_t k = 0; k < n; ++k) {
            double score = 0;
            for (const auto &row : recent) score += row[k] / recent.size();
            if (!armed[k]) armed[k] = score < kRearm * threshold;
            else if (score >= threshold && time >= silent_until[k]) {
                armed[k] = false, silent_until[k] = time + kRefractory;
                std::printf("%.2f s  phrase %zu  %.2f\n", time, k, score), std::fflush(stdout);
            }
        }
        api->ReleaseTensorTypeAndShapeInfo(got), api->ReleaseValue(result);
    }
}
