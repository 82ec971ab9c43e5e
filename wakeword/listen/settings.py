"""Settings of a listener, read strictly from `listen.toml` by `wakeword.config.load_config`.

`wakeword listen --print-config` prints all of them with their defaults; it takes what it says from the
docstrings here (see `wakeword.listen.settings_text`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wakeword.errors import UsageError

ModeChoice: TypeAlias = Literal["auto", "cascade", "verifier", "student"]
SpeakersChoice: TypeAlias = Literal["off", "report", "accept"]


def _require(allowed: bool, message: str) -> None:
    if not allowed:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class PointSettings:
    """Where one phrase fires; what is 0 is taken from its model."""

    fa_per_hour: float = 0.0
    """False accepts per hour, an operating point of the model; 0 = the model's."""
    threshold: float = 0.0
    """Posterior in (0, 1] to fire at, instead of fa_per_hour; 0 = by fa_per_hour."""

    def __post_init__(self) -> None:
        _check_point(self.fa_per_hour, self.threshold)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model to listen with."""

    path: str
    """The .wakeword file; relative to the folder of this file."""
    mode: ModeChoice = "auto"
    """auto, cascade, verifier or student: who listens; auto = cascade where there is a student."""
    fa_per_hour: float = 0.0
    """False accepts per hour, an operating point of the model; 0 = the model's default."""
    threshold: float = 0.0
    """Posterior in (0, 1] to fire at, instead of fa_per_hour; 0 = by fa_per_hour."""
    phrases: Mapping[str, PointSettings] = field(default_factory=dict)
    """Operating points of single phrases: "hey nova" = { fa_per_hour = 0.1 }."""
    speakers: SpeakersChoice = "off"
    """off, report (say who spoke) or accept (enrolled voices only); see wakeword enroll. No lock."""

    def __post_init__(self) -> None:
        _require(bool(self.path), "a model needs a path")
        _check_point(self.fa_per_hour, self.threshold)


def _check_point(fa_per_hour: float, threshold: float) -> None:
    _require(0 <= fa_per_hour < math.inf, f"fa_per_hour is {fa_per_hour}; it must be 0 or more")
    _require(0 <= threshold <= 1, f"threshold {threshold}; a threshold lies in (0, 1]")
    _require(not (fa_per_hour and threshold), "fa_per_hour and threshold exclude each other; give one")


@dataclass(frozen=True, kw_only=True)
class MicrophoneSettings:
    """The microphone of this computer."""

    enabled: bool = True
    """false = listen to network streams only."""
    device: str = ""
    """Its number or a part of its name, see `wakeword devices`; empty = the default one."""
    channel: int = 0
    """1 = the first channel alone, 2 = the second …; 0 = the first two mixed."""
    wait: bool = True
    """Wait for a microphone that is not there at the start; false = give up."""

    def __post_init__(self) -> None:
        _require(0 <= self.channel <= 64, f"channel is {self.channel}; it must be 0 to 64")


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """What is written to standard output on each detection."""

    format: Literal["lines", "json", "none"] = "lines"
    """lines, json (one object a line) or none."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the listener says about itself, on standard error."""

    format: Literal["text", "json"] = "text"
    """text or json (one object a line)."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error: the least that is said."""


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """A sound on each detection, by the first player found: pw-play, paplay, aplay, afplay."""

    phrases: tuple[str, ...] = ()
    """Phrases it is for; [] = every one."""
    file: str = ""
    """WAV file to play; empty = a short chime."""
    timeout_s: float = 10.0
    """The player is ended after this long."""

    def __post_init__(self) -> None:
        _require(0 < self.timeout_s < math.inf, f"timeout_s is {self.timeout_s}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """A command on each detection; it finds WAKEWORD_PHRASE, _SCORE, _TIME … in its environment."""

    command: tuple[str, ...] = ()
    """The program and its arguments; no shell reads them."""
    shell: str = ""
    """A line for /bin/sh, instead of command."""
    phrases: tuple[str, ...] = ()
    """Phrases it is for; [] = every one."""
    timeout_s: float = 10.0
    """It is killed, with all that it started, after this long."""

    def __post_init__(self) -> None:
        _require(
            bool(self.command) != bool(self.shell), "a command takes either command = [...] or shell = '...'"
        )
        _require(0 < self.timeout_s < math.inf, f"timeout_s is {self.timeout_s}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """A POST of JSON on each detection."""

    url: str
    """http:// or https:// address."""
    phrases: tuple[str, ...] = ()
    """Phrases it is for; [] = every one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers, such as { Authorization = "Bearer ..." }."""
    timeout_s: float = 5.0
    """An answer must have come after this long."""
    tries: int = 5
    """Times it is sent until the answer is a success; 1, 2, 4 … seconds lie between them."""

    def __post_init__(self) -> None:
        good = self.url.startswith(("http://", "https://"))
        _require(good, f"url is {self.url!r}; it must begin with http:// or https://")
        _require(0 < self.timeout_s < math.inf, f"timeout_s is {self.timeout_s}; it must be positive")
        _require(1 <= self.tries <= 20, f"tries is {self.tries}; it must be 1 to 20")


@dataclass(frozen=True, kw_only=True)
class SaveSettings:
    """The sound around each detection kept as files, for retraining."""

    folder: str = ""
    """Folder for the WAV and JSON files; empty = keep nothing."""
    phrases: tuple[str, ...] = ()
    """Phrases it is for; [] = every one."""
    max_mb: float = 200.0
    """The oldest files are removed once the folder holds more than this."""
    max_days: float = 30.0
    """Files older than this are removed, at the start and with each new one."""

    def __post_init__(self) -> None:
        _require(1 <= self.max_mb < math.inf, f"max_mb is {self.max_mb}; it must be 1 or more")
        _require(0 < self.max_days < math.inf, f"max_days is {self.max_days}; it must be more than 0")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How much sound around a detection is taken: for saved files and for the web page."""

    pre_s: float = 2.5
    """Seconds before the moment it fired."""
    post_s: float = 0.5
    """Seconds after it."""

    def __post_init__(self) -> None:
        for name in ("pre_s", "post_s"):
            value = getattr(self, name)
            _require(0 <= value <= 10, f"{name} is {value}; it must be 0 to 10 seconds")


@dataclass(frozen=True, kw_only=True)
class WyomingSettings:
    """A Wyoming server, for Home Assistant and its satellites."""

    uri: str = ""
    """tcp://127.0.0.1:10400, or unix:///run/wakeword.sock; empty = no server."""
    zeroconf: bool = False
    """Announce it on the local network."""
    max_clients: int = 32
    """Clients at once; more are turned away."""

    def __post_init__(self) -> None:
        _require(1 <= self.max_clients <= 1000, f"max_clients is {self.max_clients}; it must be 1 to 1000")


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """Detections to an MQTT broker, with Home Assistant discovery."""

    host: str = ""
    """The broker's name or address; empty = no MQTT."""
    port: int = 1883
    """Its port."""
    tls: bool = False
    """Encrypt (usual port: 8883)."""
    user: str = ""
    """User name; empty = none."""
    password_file: str = ""
    """File that holds the password alone; empty = none."""
    prefix: str = "wakeword"
    """Topics begin with this."""
    discovery: str = "homeassistant"
    """Home Assistant's discovery prefix; empty = no discovery."""

    def __post_init__(self) -> None:
        _check_port(self.port)
        _require(bool(self.prefix), "prefix is empty; MQTT topics need one")


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """A web page with levels, scores and recent detections; /metrics and /health."""

    enabled: bool = False
    """true = serve it."""
    host: str = "127.0.0.1"
    """Address to serve on; 0.0.0.0 = to the whole network, which needs a token."""
    port: int = 10480
    """Its port."""
    token_file: str = ""
    """File that holds a token, asked of every caller but /health; empty = none."""
    page: bool = True
    """Serve the page."""
    metrics: bool = True
    """Serve /metrics, for Prometheus."""

    def __post_init__(self) -> None:
        _check_port(self.port)


def _check_port(port: int) -> None:
    _require(1 <= port <= 65_535, f"port is {port}; it must be 1 to 65535")


@dataclass(frozen=True, kw_only=True)
class ReloadSettings:
    """Models and this file are read anew when they change."""

    watch: bool = True
    """Watch the files (needs the package watchfiles); SIGHUP reloads in any case."""


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """Everything about a listener."""

    models: tuple[ModelSettings, ...] = ()
    """Models to listen with, one [[models]] each."""
    microphone: MicrophoneSettings = field(default_factory=MicrophoneSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    log: LogSettings = field(default_factory=LogSettings)
    sounds: tuple[SoundSettings, ...] = ()
    """Sounds, one [[sounds]] each."""
    commands: tuple[CommandSettings, ...] = ()
    """Commands, one [[commands]] each."""
    webhooks: tuple[WebhookSettings, ...] = ()
    """Webhooks, one [[webhooks]] each."""
    save: SaveSettings = field(default_factory=SaveSettings)
    clip: ClipSettings = field(default_factory=ClipSettings)
    wyoming: WyomingSettings = field(default_factory=WyomingSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    web: WebSettings = field(default_factory=WebSettings)
    reload: ReloadSettings = field(default_factory=ReloadSettings)
