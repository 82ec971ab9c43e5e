"""The listener as a service of this user: a hardened systemd unit, or a launchd agent on macOS.

Only texts and paths are made here; `wakeword.commands.service` writes them and calls the service manager.
"""

from __future__ import annotations

import plistlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import UsageError

DEFAULT_NAME = "wakeword"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
STOP_S = 10
WATCHDOG_S = 30
MEMORY = "1G"
"""Far more than a listener takes (about 0.1 GB); one that leaks is started anew before others suffer."""


@dataclass(frozen=True)
class Service:
    """A listener to run at login."""

    name: str
    config: Path
    """Its listen.toml, absolute."""
    writable: tuple[Path, ...] = ()
    """Folders it may write to besides its own: saved sound, for example."""
    python: Path = Path(sys.executable)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(f"service name {self.name!r}; it takes letters, digits and _ . -")
        for path in (self.config, self.python, *self.writable):
            if not path.is_absolute() or re.search(r"[\x00-\x1f]", str(path)):
                raise UsageError(f"{str(path)!r} is not an absolute path of printable characters")

    @property
    def command(self) -> tuple[str, ...]:
        """What is run."""
        return (str(self.python), "-m", "wakeword", "listen", "--config", str(self.config))


UNIT = """\
# Written by `wakeword service install`; `wakeword service uninstall` removes it.
[Unit]
Description=Wake word listener ({name})
After=pipewire.service pipewire-pulse.service pulseaudio.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={folder}
Restart=always
RestartSec=3
WatchdogSec={watchdog_s}
TimeoutStopSec={stop_s}
# 2 = wrong settings: starting anew would not help.
RestartPreventExitStatus=2

# It may read its user's files and write only where it must. What drops capabilities is left out: the
# manager of a user has none to drop, and the service would not start (218/CAPABILITIES). So is what shields
# /proc/sys and cgroups: root's alone anyway, and with it some managers start or hear no service of theirs.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
MemoryMax={memory}
TasksMax=256
OOMScoreAdjust=200

[Install]
WantedBy=default.target
"""


def systemd_unit(service: Service) -> str:
    """The text of the user unit."""
    folders = dict.fromkeys((service.config.parent, *service.writable))
    return UNIT.format(
        name=service.name,
        # In a command, and only there, a dollar sign begins a variable.
        command=" ".join(_quoted(word).replace("$", "$$") for word in service.command),
        folder=_plain(service.config.parent),
        watchdog_s=WATCHDOG_S,
        stop_s=STOP_S,
        memory=MEMORY,
        writable=" ".join(_quoted(f"-{folder}") for folder in folders),
    )


def launchd_plist(service: Service, logs: Path) -> bytes:
    """The text of the launchd agent; what it says goes to `logs`."""
    return plistlib.dumps(
        {
            "Label": launchd_label(service.name),
            "ProgramArguments": list(service.command),
            "WorkingDirectory": str(service.config.parent),
            "RunAtLoad": True,
            # Not after a clean end, but after a crash.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 5,
            "ProcessType": "Interactive",
            "Umask": 0o077,
            "StandardOutPath": str(logs),
            "StandardErrorPath": str(logs),
        }
    )


def launchd_label(name: str) -> str:
    """How launchd calls a service."""
    return f"org.wakeword.{name}"


def systemd_path(name: str, config_home: Path) -> Path:
    """Where the user unit lies."""
    return config_home / "systemd" / "user" / f"{name}.service"


def launchd_path(name: str, home: Path) -> Path:
    """Where the agent lies."""
    return home / "Library" / "LaunchAgents" / f"{launchd_label(name)}.plist"


def folders_written(settings_folder: Path, named: Sequence[str]) -> tuple[Path, ...]:
    """Absolute folders of those that settings name, which may be relative to theirs; empty ones left out."""
    return tuple((settings_folder / Path(one).expanduser()).resolve() for one in named if one)


def _quoted(text: str) -> str:
    """One word of a unit file, specifiers taken literally."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[^\w@%+=:,./-]", text) else escaped


def _plain(path: Path) -> str:
    """A path that fills its line, where quotes would be part of it."""
    return str(path).replace("%", "%%")
