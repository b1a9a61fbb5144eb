#!/usr/bin/env python3
"""Calls between `dsip` and the independent phone of peer.py, through our node and through its relay, in both directions.

    run.py PATH-TO-DSIP

Each call carries speech both ways; each recording is compared with what the other side played. Exit code 0 only if every
call was held and every recording carries the speech it should.
"""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import av
import numpy

HERE = pathlib.Path(__file__).resolve().parent
SPEECH = HERE.parent / "crates" / "dsip" / "assets"
PEER = [sys.executable, str(HERE / "peer.py")]
RATE, HOP = 16000, 320
ENOUGH = 0.8
SECONDS = 7


def samples(path):
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        chunks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return numpy.concatenate(chunks).astype(numpy.float64) if chunks else numpy.zeros(HOP)


def spectrogram(audio):
    """Log energy in 24 bands, 20 ms a column: what stays of speech through any good codec."""
    count = len(audio) // HOP
    frames = audio[: count * HOP].reshape(count, HOP) * numpy.hanning(HOP)
    power = numpy.abs(numpy.fft.rfft(frames, axis=1)) ** 2
    bands = numpy.array([band.sum(axis=1) for band in numpy.array_split(power[:, 2:76], 24, axis=1)])
    return numpy.log10(bands + 1e3)


def similarity(source, recording):
    """The best correlation of the two spectrograms over all delays up to three seconds; 1 is identical."""
    played, heard = spectrogram(samples(source)), spectrogram(samples(recording))
    best = 0.0
    for delay in range(0, 150):
        width = min(played.shape[1], heard.shape[1] - delay)
        if width < 0.7 * min(played.shape[1], SECONDS * RATE // HOP - 50):
            break
        a, b = played[:, :width], heard[:, delay : delay + width]
        a, b = a - a.mean(), b - b.mean()
        best = max(best, float((a * b).sum() / numpy.sqrt((a * a).sum() * (b * b).sum() + 1e-9)))
    return best


class Process:
    """A program whose standard output is JSON lines."""

    def __init__(self, command, log):
        self.log = open(log, "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.seen = []

    def until(self, wanted):
        """The next line that `wanted` accepts."""
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.seen.append(json.loads(line))
                if wanted(self.seen[-1]):
                    return self.seen[-1]
        raise AssertionError(f"{self.process.args} ended with {self.process.wait()} after {self.seen}; see {self.log.name}")

    def finish(self, seconds=40):
        code = self.process.wait(seconds)
        self.process.stdout.read()
        if code != 0:
            raise AssertionError(f"{self.process.args} exited {code}; see {self.log.name}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                return
            self.process.kill()
            self.process.wait()


def one_call(dsip, relay, ours_calls, folder):
    """Holds one call over `relay`; returns the two similarities (what they heard of us, what we heard of them)."""
    home = ["--home", str(folder / "home"), "--json"]
    subprocess.run([dsip, *home, "id", "new", "--no-passphrase", "--name", "Ours"], check=True, stdout=subprocess.DEVNULL)
    reach = ["--node", relay["wss"], "--ca", relay["ca"]]
    mine, theirs = SPEECH / "alice.wav", SPEECH / "bob.wav"
    our_audio = ["--audio-in", str(mine), "--audio-out", str(folder / "ours.wav")]
    their_audio = ["--audio-in", str(theirs), "--audio-out", str(folder / "theirs.wav"), "--duration", str(SECONDS)]
    processes = []

    def start(name, command):
        processes.append(Process(command, folder / f"{name}.log"))
        return processes[-1]

    try:
        if ours_calls:
            callee = start("answer", [*PEER, "answer", *reach, *their_audio])
            target = callee.until(lambda line: line["event"] == "ready")["did"]
            caller = start("call", [dsip, *home, *reach, "call", target, *our_audio, "--duration", str(SECONDS)])
        else:
            callee = start("answer", [dsip, *home, *reach, "answer", "--auto", "accept", "--once", *our_audio])
            callee.until(lambda line: line["event"] == "ready")
            show = subprocess.run([dsip, *home, "id", "show"], check=True, stdout=subprocess.PIPE, text=True)
            target = json.loads(show.stdout)["did"]
            caller = start("call", [*PEER, "call", *reach, "--to", target, *their_audio])
        caller.finish()
        callee.finish()
        return similarity(mine, folder / "theirs.wav"), similarity(theirs, folder / "ours.wav")
    finally:
        for process in processes:
            process.stop()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    dsip, passed, failed = sys.argv[1], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, command in {
            "our node": [dsip, "--home", str(scratch / "node"), "--json", "node", "--listen", "127.0.0.1:0"],
            "their relay": [*PEER, "relay", "--state", str(scratch / "relay")],
        }.items():
            relay = Process(command, scratch / "relay.log")
            try:
                where = relay.until(lambda line: "wss" in line)
                for ours_calls in (True, False):
                    title = f"{'dsip calls peer' if ours_calls else 'peer calls dsip'} through {name}"
                    began = time.monotonic()
                    try:
                        # Speech is real time: on a machine that others keep busy it stutters, so a call that did is made again.
                        calls = []
                        while len(calls) < 2 and not any(min(heard) >= ENOUGH for heard in calls):
                            folder = scratch / f"{title.replace(' ', '-')}-{len(calls)}"
                            folder.mkdir()
                            calls.append(one_call(dsip, where, ours_calls, folder))
                        good = min(calls[-1]) >= ENOUGH
                        all_heard = "; then ".join(f"{heard[0]:.2f} and {heard[1]:.2f}" for heard in calls)
                        detail = f"speech similarity {all_heard}, at least {ENOUGH} wanted"
                    except (AssertionError, OSError, subprocess.SubprocessError) as problem:
                        good, detail = False, str(problem)
                        for log in sorted(folder.glob("*.log")):
                            detail += f"\n--- {log.name}\n{log.read_text()[-2000:]}"
                    passed, failed = passed + good, failed + (not good)
                    print(f"{'ok  ' if good else 'FAIL'} {title} ({time.monotonic() - began:.1f} s): {detail}", flush=True)
            finally:
                relay.stop()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
