#!/usr/bin/env python3
"""A second, independent implementation of DSIP core 1.0: a phone and a relay, small and strict.

It shares no line of code with the Rust workspace: envelopes are built on `cryptography`, links on `websockets`, media on
`aiortc`. The interoperability checks call with it and through it, in both directions, so that a mistake in our reading of
the contract cannot hide by being made at both ends.

    peer.py relay  [--state DIR]                        a ws/1.0 relay on loopback; prints {"did","wss","ca"}
    peer.py answer --node URL --ca FILE [...]           waits for one call, answers it, hangs up after --duration
    peer.py call   --node URL --ca FILE --to DID [...]  places one call

Every line on standard output is one JSON object with an "event" member; the exit code is 0 when the call was held.
"""

import argparse
import asyncio
import base64
import datetime
import ipaddress
import json
import pathlib
import secrets
import ssl
import sys
import time

import aioice.ice
import av
import numpy
import websockets
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
FRAME_CAP = 65536
SAMPLE_RATE = 48000
FRAME_SAMPLES = 960


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


# --- identifiers ---------------------------------------------------------------------------------------------------------


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def base58_encode(raw):
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def base58_decode(text):
    number = 0
    for character in text:
        number = number * 58 + BASE58.index(character)
    return number.to_bytes(34, "big")


def ulid():
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[value >> 5 * place & 31] for place in range(25, -1, -1))


def did_key_public(did):
    """The Ed25519 key of a did:key (ID-12)."""
    if not did.startswith("did:key:z"):
        raise ValueError(f"cannot resolve {did}")
    raw = base58_decode(did.removeprefix("did:key:z"))
    if raw[:2] != b"\xed\x01":
        raise ValueError(f"not an Ed25519 key: {did}")
    return Ed25519PublicKey.from_public_bytes(raw[2:])


class Key:
    """An Ed25519 key that is its own did:key."""

    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        multibase = "z" + base58_encode(b"\xed\x01" + raw)
        self.did = "did:key:" + multibase
        self.kid = f"{self.did}#{multibase}"

    def envelope(self, payload, delegations=None):
        header = {"alg": "EdDSA", "kid": self.kid, "typ": "dsip+json"}
        if delegations:
            header["delegations"] = delegations
        protected, body = (b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
        signature = self.private.sign(f"{protected}.{body}".encode())
        return {"protected": protected, "payload": body, "signature": b64(signature)}


def open_envelope(envelope):
    """(header, payload) of an envelope whose signature verifies, or an exception."""
    if set(envelope) != {"protected", "payload", "signature"}:
        raise ValueError("envelope-shape")
    header = json.loads(unb64(envelope["protected"]))
    if header["alg"] != "EdDSA":
        raise ValueError("alg-unsupported")
    did, fragment = header["kid"].split("#", 1)
    if did.removeprefix("did:key:") != fragment:
        raise ValueError("kid-unresolvable")
    signed = f'{envelope["protected"]}.{envelope["payload"]}'.encode()
    did_key_public(did).verify(unb64(envelope["signature"]), signed)
    return header, json.loads(unb64(envelope["payload"]))


class Verifier:
    """Stages 1 to 11 of the pipeline as far as did:key peers need them, and who stands behind a device."""

    def __init__(self):
        self.seen = set()
        self.identities = {}

    def verify(self, frame):
        if len(frame.encode()) > FRAME_CAP:
            raise ValueError("frame-too-large")
        header, payload = open_envelope(json.loads(frame))
        signer, now = header["kid"].split("#", 1)[0], time.time()
        for delegation in header.get("delegations", []):
            inner_header, inner = open_envelope(delegation)
            if (
                inner["type"] == "DeviceDelegation"
                and inner_header["kid"].split("#", 1)[0] == inner["subject"]
                and "dsip.signaling" in inner["capabilities"]
                and inner["issued_at"] <= now < inner["expires_at"]
            ):
                self.identities[inner["device"]] = inner["subject"]
        if payload["from"] not in (signer, self.identities.get(signer)):
            raise ValueError("signer-mismatch")
        if abs(now - payload["issued_at"]) > 300 and payload["type"] not in ("introduction", "grant"):
            raise ValueError("replay-window")
        if payload["expires_at"] < now:
            raise ValueError("expired")
        if payload["id"] in self.seen:
            raise ValueError("duplicate-id")
        self.seen.add(payload["id"])
        return signer, self.identities.get(signer, signer), payload


# --- a device on a link --------------------------------------------------------------------------------------------------


class Device:
    """An identity, one delegated device, and its connection to a relay."""

    def __init__(self):
        self.identity, self.key, self.verifier = Key(), Key(), Verifier()
        now = int(time.time())
        self.delegation = self.identity.envelope(
            {
                "type": "DeviceDelegation",
                "subject": self.identity.did,
                "device": self.key.did,
                "capabilities": ["dsip.signaling", "dsip.media.interactive"],
                "issued_at": now - 60,
                "expires_at": now + 86400,
            }
        )

    async def connect(self, url, ca):
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.socket = await websockets.connect(url, ssl=context, max_size=FRAME_CAP, compression=None, proxy=None)
        hello = await self.send("hello", profiles=[], on_behalf_of=self.identity.did, bindings=["ws/1.0"])
        relay, _, reply = await self.receive()
        if reply["type"] != "hello" or reply.get("in_reply_to") != hello:
            raise ValueError(f"the relay answered {reply}")
        say("ready", did=self.identity.did, device=self.key.did, relay=relay)

    async def send(self, kind, profiles=("interactive-media/1.0",), message_id=None, lifetime=30, **members):
        now = int(time.time())
        payload = {
            "dsip": {"core": "1.0", "min_core": "1.0", "profiles": list(profiles), "extensions": [], "critical": []},
            "type": kind,
            "id": message_id or ulid(),
            "from": self.key.did,
            "issued_at": now,
            "expires_at": now + lifetime,
            **members,
        }
        await self.socket.send(json.dumps(self.key.envelope(payload, [self.delegation]), separators=(",", ":")))
        return payload["id"]

    async def receive(self):
        return self.verifier.verify(await self.socket.recv())


# --- media ---------------------------------------------------------------------------------------------------------------


class FileTrack(MediaStreamTrack):
    """Plays a file as 48 kHz mono in real time, then silence."""

    kind = "audio"

    def __init__(self, path):
        super().__init__()
        self.samples = numpy.zeros(0, dtype=numpy.int16)
        if path:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            with av.open(path) as container:
                chunks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            self.samples = numpy.concatenate(chunks)
        self.position, self.started = 0, None

    async def recv(self):
        self.started = self.started or time.monotonic()
        await asyncio.sleep(max(0, self.started + self.position / SAMPLE_RATE - time.monotonic()))
        chunk = numpy.zeros(FRAME_SAMPLES, dtype=numpy.int16)
        part = self.samples[self.position : self.position + FRAME_SAMPLES]
        chunk[: len(part)] = part
        frame = av.AudioFrame.from_ndarray(chunk.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self.position
        self.position += FRAME_SAMPLES
        return frame


async def record(track, samples):
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    try:
        while True:
            for frame in resampler.resample(await track.recv()):
                samples.append(frame.to_ndarray()[0])
    except Exception:  # aiortc ends a track by raising
        return


def write_wav(path, samples):
    with av.open(path, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        audio = numpy.concatenate(samples) if samples else numpy.zeros(FRAME_SAMPLES, dtype=numpy.int16)
        frame = av.AudioFrame.from_ndarray(audio.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def opus_audio(direction="sendrecv"):
    return [{"type": "audio", "direction": direction, "codecs": [{"id": "codec:audio/opus"}]}]


class Call:
    """One session: signalling on a device, media in a peer connection. aiortc gathers before it speaks, so nothing trickles out."""

    def __init__(self, device, options):
        self.device, self.options = device, options
        self.connection, self.recorded, self.recorder = RTCPeerConnection(), [], None
        self.connection.addTrack(FileTrack(options.audio_in))
        self.session = self.peer = None

        @self.connection.on("track")
        def on_track(track):
            self.recorder = asyncio.ensure_future(record(track, self.recorded))

    async def talk(self):
        """Exchanges the rest of the candidates, holds the call, and returns whether media flowed."""
        marker = {"candidates": [], "end_of_candidates": True}
        await self.device.send("info", to=self.peer, session=self.session, about="transport:webrtc", data=marker)
        deadline, ended = time.monotonic() + self.options.duration, None
        while ended is None and time.monotonic() < deadline:
            try:
                signer, _, message = await asyncio.wait_for(self.device.receive(), deadline - time.monotonic())
            except TimeoutError:
                break
            if message.get("session") != self.session or signer != self.peer:
                continue
            if message["type"] == "info":
                for entry in message["data"]["candidates"]:
                    candidate = candidate_from_sdp(entry["candidate"].removeprefix("candidate:"))
                    candidate.sdpMid = entry["sdp_mid"]
                    await self.connection.addIceCandidate(candidate)
            elif message["type"] == "bye":
                ended = message["reason"]
            elif message["type"] == "error":
                say("error", reason=message["reason"], detail=message.get("detail"))
        if ended is None:
            await self.device.send("bye", to=self.peer, session=self.session, reason="user.hangup")
            ended = "user.hangup"
        if self.recorder:
            self.recorder.cancel()
        connected = self.connection.connectionState == "connected"
        await self.connection.close()
        if self.options.audio_out:
            write_wav(self.options.audio_out, self.recorded)
        seconds = sum(map(len, self.recorded)) / SAMPLE_RATE
        say("ended", reason=ended, connected=connected, recorded_seconds=round(seconds, 2))
        return connected and seconds > 0

    async def place(self, to):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        transport = {"id": "transport:webrtc", "ice": "trickle", "sdp": self.connection.localDescription.sdp}
        self.session = await self.device.send("invite", to=to, intent="interactive", media=opus_audio(), transports=[transport])
        while True:
            signer, identity, message = await asyncio.wait_for(self.device.receive(), 60)
            if message["type"] == "error" and message.get("in_reply_to") == self.session:
                say("failed", reason=message["reason"])
                return False
            if message.get("session") != self.session or identity != to and message["type"] != "reject":
                continue
            say(message["type"], status=message.get("status"), reason=message.get("reason"))
            if message["type"] == "reject":
                return False
            if message["type"] == "answer":
                self.peer = signer
                await self.device.send("cancel", to=to, session=self.session, reason="session.answered-elsewhere")
                await self.connection.setRemoteDescription(RTCSessionDescription(message["transports"][0]["sdp"], "answer"))
                return await self.talk()

    async def take(self):
        while True:
            signer, identity, message = await self.device.receive()
            if message["type"] == "invite":
                break
        say("invite", identity=identity, device=signer)
        self.session, self.peer = message["id"], signer
        await self.device.send("progress", to=self.peer, session=self.session, status="ringing")
        await self.connection.setRemoteDescription(RTCSessionDescription(message["transports"][0]["sdp"], "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        transport = {"id": "transport:webrtc", "sdp": self.connection.localDescription.sdp}
        selection = dict(media=opus_audio(), transports=[transport])
        await self.device.send("answer", to=self.peer, session=self.session, answered_by="user", **selection)
        return await self.talk()


async def phone(options):
    device = Device()
    await device.connect(options.node, options.ca)
    call = Call(device, options)
    return 0 if await (call.take() if options.command == "answer" else call.place(options.to)) else 1


# --- relay ---------------------------------------------------------------------------------------------------------------


class Relay:
    """Routing with forks of 03 §3, without queues: enough to hold calls through it."""

    def __init__(self):
        self.key, self.devices, self.identities, self.attempts = Key(), {}, {}, {}

    def envelope(self, kind, **members):
        now = int(time.time())
        payload = {
            "dsip": {"core": "1.0", "min_core": "1.0", "profiles": [], "extensions": [], "critical": []},
            "type": kind,
            "id": ulid(),
            "from": self.key.did,
            "issued_at": now,
            "expires_at": now + 30,
            **members,
        }
        return json.dumps(self.key.envelope(payload), separators=(",", ":"))

    async def serve(self, socket):
        verifier, device, identity = Verifier(), None, None
        try:
            async for frame in socket:
                try:
                    signer, _, message = verifier.verify(frame)
                except (ValueError, KeyError, InvalidSignature) as problem:
                    say("refused", why=str(problem))
                    continue
                if message["type"] == "hello":
                    device, identity = signer, message.get("on_behalf_of", signer)
                    if identity not in (signer, verifier.identities.get(signer)):
                        await socket.send(self.envelope("error", to=signer, reason="transport.hello-rejected"))
                        return
                    self.devices[device], self.identities[device] = socket, identity
                    capabilities = {"max_envelope_bytes": FRAME_CAP, "store_and_forward": False}
                    await socket.send(self.envelope("hello", in_reply_to=message["id"], capabilities=capabilities))
                elif device is None:
                    await socket.send(self.envelope("error", to=signer, reason="transport.hello-required"))
                else:
                    await self.route(socket, device, message, frame)
        except websockets.ConnectionClosed:
            pass
        finally:
            if device and self.devices.get(device) is socket:
                del self.devices[device]

    def legs(self, to):
        return [to] if to in self.devices else sorted(d for d, i in self.identities.items() if i == to and d in self.devices)

    async def route(self, socket, device, message, frame):
        to, session = message.get("to"), message.get("session")
        legs = self.legs(to)
        if message["type"] == "invite" and legs:
            self.attempts[message["id"]] = {"initiator": device, "live": set(legs)}
        attempt = self.attempts.get(session)
        if attempt and message["type"] in ("progress", "answer", "reject", "cancel") and "in_reply_to" not in message:
            if message["type"] == "cancel" and device == attempt["initiator"]:
                legs, attempt["live"] = sorted(attempt["live"]), set()
            elif device in attempt["live"]:
                if message["type"] != "progress":
                    attempt["live"].discard(device)
                legs = [attempt["initiator"]] if message["type"] != "reject" or not attempt["live"] else []
        if not legs and not attempt:
            error = dict(to=device, reason="transport.unknown-recipient", in_reply_to=message["id"])
            await socket.send(self.envelope("error", **error))
        for leg in legs:
            if leg in self.devices:
                await self.devices[leg].send(frame)


def certificate(folder):
    """A private authority and a certificate for loopback under it; returns the server's TLS context and the authority's file."""
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)

    def issue(name, key, issuer_name, issuer_key, authority):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = issue("Interop authority", authority_key, "Interop authority", authority_key, True)
    leaf = issue("localhost", key, "Interop authority", authority_key, False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(
        leaf.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "leaf.pem")
    return context, folder / "ca.pem"


async def relay(options):
    folder = pathlib.Path(options.state)
    folder.mkdir(parents=True, exist_ok=True)
    context, authority = certificate(folder)
    host = Relay()
    serving = websockets.serve(host.serve, "127.0.0.1", 0, ssl=context, max_size=FRAME_CAP, compression=None)
    async with serving as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"did": host.key.did, "wss": f"wss://127.0.0.1:{port}/dsip", "ca": str(authority)}), flush=True)
        await server.wait_closed()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("relay").add_argument("--state", required=True, help="folder for the relay's certificate")
    for name in ("answer", "call"):
        command = commands.add_parser(name)
        command.add_argument("--node", required=True, help="wss:// address of the relay")
        command.add_argument("--ca", required=True, help="PEM file to trust for it")
        command.add_argument("--audio-in", help="file to play")
        command.add_argument("--audio-out", help="WAV file to record into")
        command.add_argument("--duration", type=float, default=8, help="seconds to talk before hanging up")
        if name == "call":
            command.add_argument("--to", required=True, help="DID to call")
    options = parser.parse_args()
    # Calls under test stay on this machine.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    try:
        sys.exit(asyncio.run(relay(options) if options.command == "relay" else phone(options)))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
