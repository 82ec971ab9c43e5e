// A wake word in Go: go run listen.go libonnxruntime.so verifier.audio.int8.onnx THRESHOLD < audio.s16le
// The verifier hears every hop. THRESHOLD stands in detector.json (thresholds, verifier).
// Needs: go get github.com/yalue/onnxruntime_go. Never compiled so far.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"
)

const (
	hop        = 1280
	refractory = 2.0 // decision.refractory_s, and the rest, in detector.json
	rearm      = 0.5
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	threshold, err := strconv.ParseFloat(os.Args[3], 64)
	check(err)
	ort.SetSharedLibraryPath(os.Args[1])
	check(ort.InitializeEnvironment())
	defer ort.DestroyEnvironment()
	inputs, outputs, err := ort.GetInputOutputInfo(os.Args[2]) // audio [batch, N], posterior [batch, K]
	check(err)
	n, k := inputs[0].Dimensions[1], outputs[0].Dimensions[1]
	window := make([]float32, n)
	audio, err := ort.NewTensor(ort.NewShape(1, n), window)
	check(err)
	posterior, err := ort.NewEmptyTensor[float32](ort.NewShape(1, k))
	check(err)
	session, err := ort.NewAdvancedSession(os.Args[2], []string{"audio"}, []string{"posterior"},
		[]ort.Value{audio}, []ort.Value{posterior}, nil)
	check(err)
	defer session.Destroy()

	before := make([]float64, k) // smoothing over two hops
	disarmed := make([]bool, k)
	silentUntil := make([]float64, k)
	in := bufio.NewReader(os.Stdin)
	samples := make([]int16, hop)
	for hops := 1; binary.Read(in, binary.LittleEndian, samples) == nil; hops++ {
		copy(window, window[hop:])
		for i, s := range samples {
			window[int(n)-hop+i] = float32(s) / 32768
		}
		if hops*hop < int(n) {
			continue // no full window of sound yet
		}
		check(session.Run())
		time := float64(hops*hop) / 16000
		for i, p := range posterior.GetData() {
			score := (float64(p) + before[i]) / 2
			before[i] = float64(p)
			if disarmed[i] {
				disarmed[i] = score >= rearm*threshold
			} else if score >= threshold && time >= silentUntil[i] {
				disarmed[i], silentUntil[i] = true, time+refractory
				fmt.Printf("%.2f s  phrase %d  %.2f\n", time, i, score)
			}
		}
	}
}
