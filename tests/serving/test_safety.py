# SPDX-License-Identifier: Apache-2.0
"""Nobody but the user asks, nothing but the named runs is read, and no request takes more than it may."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.serving.guarding import POLICY
from pellucid.serving.server import serve

TOKEN = "a-secret-of-the-tests"


def client(server: Any, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=server.address, trust_env=False, timeout=180, **options)


def png(width: int = 8, height: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "PNG")
    return file.getvalue()


def raw(server: Any, request: bytes, wait: float = 60) -> bytes:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as line:
        line.sendall(request)
        found = b""
        while part := line.recv(65536):
            found += part
        return found


@pytest.mark.parametrize(
    "path",
    [
        "/runs/../../etc/passwd/report",
        "/runs/..%2F..%2Fetc/report",
        "/runs/%2Fetc%2Fpasswd/report",
        "/runs/digits%2F../report",
        "/runs/./digits/../../digits/report",
        "/static/../index.html",
        "/static/..%2F..%2Fapplication.py",
        "/static/%2e%2e/run.json",
        "/static//etc/passwd",
        "/report.html",
        "/run.json",
    ],
)
def test_no_path_leads_out(server: Any, path: str) -> None:
    found = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 404 ")
    assert b"root:" not in found


def test_a_run_is_asked_by_its_name_alone(server: Any, digits: Run) -> None:
    with client(server) as ask:
        assert [one["name"] for one in ask.get("/runs").json()["runs"]] == ["digits", "denoiser"]
        other = str(digits.path).replace("/", "%2F")
        assert ask.post(f"/runs/{other}/predict", content=png()).status_code == 404
        # nowhere does the folder stand
        assert str(digits.path.parent) not in ask.get("/runs").text + ask.get("/runs/digits/report").text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost@evil.example"]
)
def test_a_foreign_host_is_refused(server: Any, host: str) -> None:
    with client(server) as ask:
        refused = ask.get("/runs", headers={"host": host})
    assert refused.status_code in (400, 421)
    assert "digits" not in refused.text


def test_own_hosts_are_answered(server: Any) -> None:
    with client(server) as ask:
        for host in ("127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:80"):
            assert ask.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost", "http://127.0.0.1:1", "file://"])
def test_a_foreign_origin_is_refused(server: Any, origin: str) -> None:
    with client(server) as ask:
        for method, path in (("POST", "/runs/digits/predict"), ("GET", "/runs"), ("OPTIONS", "/runs")):
            refused = ask.request(method, path, headers={"origin": origin}, content=b"" if method == "GET" else png())
            assert refused.status_code == 403, (method, path)
            assert not [name for name in refused.headers if name.startswith("access-control")]


def test_the_own_origin_is_answered_and_no_other_site_may_read(server: Any) -> None:
    with client(server) as ask:
        answer = ask.post("/runs/digits/predict", content=png(), headers={"origin": server.address})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_has_the_policy(server: Any) -> None:
    with client(server) as ask:
        for path in ("/", "/worksheet", "/docs", "/static/page.css", "/runs", "/nothing", "/openapi.json"):
            headers = ask.get(path).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
        refused = ask.get("/", headers={"host": "evil.example"}).headers
    assert refused["x-content-type-options"] == "nosniff"
    assert POLICY.startswith("default-src 'self';")
    assert "unsafe" not in POLICY


def test_a_report_runs_no_script(serving: Callable[..., Any], digits: Run) -> None:
    report = digits.path / "report.html"
    report.write_text("<script>alert(1)</script>", encoding="utf-8")
    try:
        with serving([digits]) as own, client(own) as ask:
            policy = ask.get("/runs/digits/report").headers["content-security-policy"]
    finally:
        report.unlink()
    assert policy.startswith("default-src 'none';")
    assert "sandbox" in policy
    assert "allow-scripts" not in policy


def test_another_address_needs_a_token() -> None:
    with pytest.raises(UsageError, match=r"^host='0\.0\.0\.0': lets other machines ask; give --token"):
        serve((), host="0.0.0.0")
    with pytest.raises(UsageError, match=r"^token: must be 16 or more"):
        serve((), host="0.0.0.0", token="short")


def test_a_token_is_asked_of_everyone(serving: Callable[..., Any], digits: Run) -> None:
    with serving([digits], host="0.0.0.0", token=TOKEN) as own, client(own) as ask:
        for path in ("/", "/runs", "/health", "/static/page.css", "/openapi.json"):
            assert ask.get(path).status_code == 401
        assert ask.post("/runs/digits/predict", content=png()).status_code == 401
        assert ask.get("/runs", headers={"authorization": "Bearer another-secret-word"}).status_code == 401
        assert ask.get("/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        entered = ask.get("/", params={"token": TOKEN})
        assert entered.status_code == 303
        assert entered.headers["location"] == "/"
        assert "HttpOnly" in entered.headers["set-cookie"]
        assert ask.get("/runs").status_code == 200  # by the cookie
        assert ask.get("/runs", headers={"host": "evil.example"}).status_code == 421


def test_an_upload_that_is_too_large_is_refused_before_it_is_read(server: Any) -> None:
    head = b"POST /runs/digits/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999999\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 413 ")

    def pieces() -> Any:
        for _ in range(100):
            yield bytes(4000)

    with client(server) as ask:  # without a length
        assert ask.post("/runs/digits/predict", content=pieces()).status_code == 413
        assert ask.post("/worked/solve", content=b"x" * 150_000).status_code == 413  # more than a worksheet may have
    assert server.released()


def test_uploads_together_stay_within_the_memory(serving: Callable[..., Any], digits: Run) -> None:
    from pellucid.serving.limits import Limits

    limits = Limits(upload=1000, held=1500, idle=0.5, seconds=1)
    with serving([digits], limits=limits) as own:
        head = b"POST /runs/digits/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n"
        with socket.create_connection(("127.0.0.1", own.port), timeout=60) as first:
            first.sendall(head)  # and nothing more
            while not own.guard.held:
                time.sleep(0.01)
            assert raw(own, head).startswith(b"HTTP/1.1 503 ")
            assert first.recv(100).startswith(b"HTTP/1.1 408 ")
        assert own.released()


@pytest.mark.parametrize("pause", [0.3, 5.0])
def test_a_slow_upload_is_ended(server: Any, pause: float) -> None:
    """One that comes byte by byte, within the limit of idleness, and one that stops."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(b"POST /runs/digits/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")
        line.settimeout(pause)
        found = b""
        for _ in range(99):  # one byte less than it announced
            line.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                found = line.recv(1000)
            if found:
                break
        assert found.startswith(b"HTTP/1.1 408 ")
    assert server.released()


def test_an_upload_that_breaks_off_leaves_nothing(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(b"POST /runs/digits/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nxxx")
    assert server.released()
    with client(server) as ask:
        assert ask.get("/health").status_code == 200


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that decodes to many."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(50_000, 50_000), (3000, 3000)])
def test_a_bomb_is_refused_by_its_header(server: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    def decoded(*_: Any) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with client(server) as ask:
        for path in ("/runs/digits/predict", "/runs/digits/look/occlusion"):
            refused = ask.post(path, content=bomb(*size))
            assert refused.status_code == 413
            assert "px" in refused.json()["error"]


def test_many_images_are_as_large_as_one(server: Any) -> None:
    with client(server) as ask:
        files = [("images", (f"{i}.png", png(1500, 1000))) for i in range(3)]
        assert ask.post("/runs/digits/predict", files=files).status_code == 413
        files = [("images", (f"{i}.png", png())) for i in range(65)]
        assert ask.post("/runs/digits/predict", files=files).status_code == 400


def test_a_broken_image_is_said_and_the_others_are_answered(server: Any) -> None:
    files = [("images", ("a.png", png())), ("images", ("b.png", png()[:40])), ("images", ("c.png", b"GIF89a nonsense"))]
    with client(server) as ask:
        answers = ask.post("/runs/digits/predict", files=files).json()["answers"]
        assert [sorted(row)[0] for row in answers] == ["label", "error", "error"]
        alone = ask.post("/runs/digits/predict?name=b.png", content=png()[:40])
    assert alone.status_code == 422
    assert alone.json()["error"].startswith("image='b.png': ")


def test_names_stay_text(server: Any) -> None:
    """A file's name is the last part of a path, and no mark-up anywhere."""
    name = '../../"><img src=x onerror=alert(1)>.png'
    with client(server) as ask:
        found = ask.post("/runs/digits/predict", params={"name": name}, content=png())
        assert found.headers["content-type"] == "application/json"
        assert found.json()["answers"][0]["name"] == '"><img src=x onerror=alert(1)>.png'
        table = ask.post("/runs/digits/predict", params={"name": "=cmd()", "format": "csv"}, content=png()).text
        assert table.splitlines()[1].startswith("'=cmd(),")
        solved = ask.post("/worked/solve", content="x = 3 # <script>alert(1)</script>\n? x").text
        assert "<script" not in solved
        refused = ask.post("/worked/solve", content="x = <script>alert(1)</script>")
        assert refused.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "option", ["mask=/etc/passwd", "out=/tmp/x", "words=/etc/passwd", "threshold=many", "sort_into=/tmp"]
)
def test_no_option_names_a_file(server: Any, option: str) -> None:
    with client(server) as ask:
        refused = ask.post(f"/runs/digits/predict?{option}", content=png())
    assert refused.status_code == 400
    assert json.loads(refused.text)["error"].startswith(option.split("=")[0])


def test_the_pages_name_no_other_place() -> None:
    import pellucid

    for file in (Path(pellucid.__file__).parent / "serving" / "pages").iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "").replace('"//', ""), file.name
        assert " style=" not in text
        assert "onclick=" not in text
