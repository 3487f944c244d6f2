"""The server of the demo: what it answers, and everything that it refuses."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import struct
import threading
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo.conftest import TWO, load_tiny, photo
from PIL import Image

from van_dense.cli import demo
from van_dense.cli.main import main
from van_dense.core import budgets
from van_dense.core.structures import Prediction
from van_dense.demo import server as serving
from van_dense.demo import session as sessions
from van_dense.demo.evidence import refusal
from van_dense.demo.examples import Examples
from van_dense.demo.payload import LONGEST, describe
from van_dense.demo.server import DemoServer
from van_dense.demo.session import Session, clean_name
from van_dense.deploy.file_model import FileModel
from van_dense.deploy.networks import network_of
from van_dense.inference.result import Result


def png(seed: int = 0, size: tuple[int, int] = (70, 90)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def rights(server: DemoServer) -> dict[str, str]:
    return {"Origin": server.url.rstrip("/"), "X-Token": server.token}


def ask(
    server: DemoServer,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str | None] | None = None,
    method: str | None = None,
) -> tuple[int, Any, Any]:
    """Status, answer and its headers; headers of None are left out."""
    given = (rights(server) if body is not None else {}) | (headers or {})
    request = urllib.request.Request(
        server.url.rstrip("/") + path,
        body,
        {name: value for name, value in given.items() if value is not None},
        method=method,
    )
    try:
        answer = urllib.request.urlopen(request, timeout=120)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        data = answer.read()
        kind = answer.headers["Content-Type"]
        return answer.status, json.loads(data) if "json" in kind else data, answer.headers


def raw(server: DemoServer, request: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def predict(server: DemoServer, data: bytes, name: str = "a.png") -> Any:
    status, found, _ = ask(server, "/predict", data, {"X-Name": name})
    assert status == 200, found
    return found


def unpack(packed: dict[str, Any]) -> np.ndarray:
    stream = zlib.decompress(base64.b64decode(packed["data"]))
    dtype = np.dtype("<u1" if packed["bytes"] == 1 else "<u2")
    return np.frombuffer(stream, dtype).reshape(packed["height"], packed["width"])


# ---------------------------------------------------------------------------------- the page


def test_the_page_and_its_parts_come_with_headers_that_let_nothing_else_in(serve):
    server = serve("semantic")
    for path in ("/", "/demo.css", "/demo.js", "/paint.js", "/about", "/examples"):
        status, data, headers = ask(server, path)
        assert status == 200 and data
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    page = ask(server, "/")[1].decode()
    assert server.token in page and "{{token}}" not in page
    for path in ("/", "/demo.css", "/demo.js", "/paint.js"):  # no address but that of SVG's names
        assert not re.findall(r"https?://(?!www\.w3\.org)", ask(server, path)[1].decode())


def test_the_server_is_bound_to_this_machine_alone(serve):
    assert serve("semantic").server_address[0] == "127.0.0.1"
    options = {word for action in demo.build_parser()._actions for word in action.option_strings}
    assert not options & {"--host", "--bind", "--address", "--listen"}


def test_examples_are_offered_and_predicted(serve):
    server = serve("semantic")
    _, examples, _ = ask(server, "/examples")
    assert [one["name"] for one in examples] == ["0.png", "1.png"]
    assert all(one["picture"].startswith("data:image/jpeg;base64,") for one in examples)
    status, found, _ = ask(server, "/example", b'{"index": 1}')
    assert status == 200 and found["name"] == "1.png"
    for index in (b"2", b"-1", b'"0"', b"null"):
        status, found, _ = ask(server, "/example", b'{"index": %s}' % index)
        assert status == 404 and "no such example" in found["error"]


def test_a_run_without_its_data_has_no_examples():
    assert Examples.of_run(load_tiny("classification")).all() == []


def test_broken_examples_are_left_out(tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert [one.name for one in Examples.of_folder(tmp_path).all()] == ["a.png"]


# -------------------------------------------------------------------------------- every task


def test_objects_come_once_with_scores_boxes_and_outlines(serve):
    server = serve("detection")
    found = predict(server, png())
    assert (found["kind"], found["width"], found["height"]) == ("detection", 90, 70)
    assert found["threshold"] == pytest.approx(0.2)
    assert len(found["objects"]) > 1
    for one in found["objects"]:
        assert 0 <= one["score"] <= 1 and one["name"] in TWO.class_names
        assert 0 <= one["box"][0] <= one["box"][2] <= 90
        assert all(len(line) % 2 == 0 for line in one["outlines"])
    status, why, _ = ask(server, "/explain", question(found, object=0))
    assert status == 200 and why["title"].startswith(found["objects"][0]["name"])
    assert why["picture"].startswith("data:image/png;base64,")
    status, data, headers = ask(server, f"/results/{found['id']}")
    assert status == 200 and len(data) == len(found["objects"])
    assert {"image_id", "category_id", "score", "bbox", "segmentation"} == data[0].keys()
    assert headers["Content-Disposition"] == 'attachment; filename="a.json"'


@pytest.mark.parametrize(
    ("kind", "clicked"),
    [
        ("detection", {"object": 1}),
        ("semantic", {"x": 3, "y": 5}),
        ("saliency", {}),
        ("classification", {"label": 0}),
    ],
)
def test_an_explanation_is_of_what_is_shown_and_predicts_nothing_again(
    serve, kind, clicked, monkeypatch
):
    server = serve(kind)
    found = predict(server, png())
    model = type(server.session.loaded.model)
    monkeypatch.setattr(model, "predict", lambda *_: pytest.fail("predicted twice"))
    status, why, _ = ask(server, "/explain", question(found, **clicked))
    assert status == 200, why
    if kind == "detection":
        shown = found["objects"][1]
        assert why["title"].startswith(f"{shown['name']} {shown['score']:.0%}")


def test_a_mistyped_folder_of_examples_is_an_error(tmp_path, capsys):
    wrong = str(tmp_path / "fotos")
    assert main(["demo", "run", "--examples", wrong]) == 1
    assert f"error: {wrong}: no such folder or image" in capsys.readouterr().err


def question(found: dict[str, Any], **clicked: Any) -> bytes:
    return json.dumps({"id": found["id"], **clicked}).encode()


def test_label_maps_come_as_positions_of_their_classes(serve):
    server = serve("semantic")
    found = predict(server, png())
    values = unpack(found["map"])
    assert values.shape == (70, 90)
    shares = [one["share"] for one in found["regions"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert (values == 1).mean() == pytest.approx(shares[0])
    for clicked in ({"x": 3, "y": 5}, {"label": found["regions"][0]["label"]}):
        assert ask(server, "/explain", question(found, **clicked))[0] == 200
    status, data, headers = ask(server, f"/results/{found['id']}")
    assert status == 200 and headers["Content-Type"] == "image/png"
    stored = np.array(Image.open(io.BytesIO(data)))
    assert (stored == found["regions"][0]["label"]).mean() == pytest.approx(shares[0])


def test_saliency_classes_and_poses_come_whole_too(serve):
    found = predict(serve("saliency"), png())
    assert found["kind"] == "saliency" and unpack(found["map"]).shape == (70, 90)
    assert ask(serve("saliency"), "/explain", question(found))[0] == 200
    found = predict(serve("classification"), png())
    assert sum(one["score"] for one in found["classes"]) == pytest.approx(1, abs=1e-4)
    label = found["classes"][1]["label"]
    status, why, _ = ask(serve("classification"), "/explain", question(found, label=label))
    assert status == 200 and why["title"].startswith(TWO.class_names[label])
    assert b"image" in ask(serve("classification"), f"/results/{found['id']}")[1]  # CSV
    found = predict(serve("pose"), png())
    assert [one["name"] for one in found["joints"]] == ["left end", "right end", "middle"]
    assert [bone["ends"] for bone in found["bones"]] == [[0, 2], [2, 1]]
    assert ask(serve("pose"), "/explain", question(found, joint=2))[0] == 200


def test_panoptic_maps_name_their_segments():
    panoptic = np.zeros((4, 6), np.int32)
    panoptic[:, 3:] = 70_000
    panoptic[0, :2] = 5
    segments = [{"id": 5, "label": 1, "score": 0.5}, {"id": 70_000, "label": 0, "score": 1.0}]
    image = np.zeros((4, 6, 3), np.uint8)
    prediction = Prediction("a", (4, 6), panoptic=panoptic, segments=segments)
    found = describe(Result.of(prediction, image, TWO), image)
    assert found["kind"] == "panoptic"
    assert [(one["name"], one["share"]) for one in found["regions"]] == [
        ("cat", 0.5),
        ("dog", 2 / 24),
    ]
    assert (unpack(found["map"]) == np.where(panoptic == 70_000, 1, np.where(panoptic, 2, 0))).all()


def test_large_images_are_sent_small_and_described_in_their_own_pixels():
    semantic = np.zeros((20, 2 * LONGEST), np.uint8)
    semantic[:, LONGEST:] = 255
    image = np.zeros((20, 2 * LONGEST, 3), np.uint8)
    found = describe(
        Result.of(Prediction("a", semantic.shape, semantic=semantic), image, TWO), image
    )
    assert found["width"] == 2 * LONGEST
    assert unpack(found["map"]).tolist() == [[1] * (LONGEST // 2) + [0] * (LONGEST // 2)] * 10


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_other_host_names_are_refused_against_rebinding(serve, host):
    server = serve("semantic")
    host = host.format(port=server.server_address[1])
    for path, body in (("/", None), ("/about", None), ("/predict", png())):
        status, found, _ = ask(server, path, body, {"Host": host})
        assert status == 403 and "nowhere else" in found["error"]
    assert b" 403 " in raw(server, b"GET / HTTP/1.1\r\n\r\n")  # no Host at all
    two = f"Host: localhost:{server.server_address[1]}\r\n".encode()
    assert b" 403 " in raw(server, b"GET / HTTP/1.1\r\n" + two + b"Host: evil.example\r\n\r\n")


def test_localhost_is_the_same_page(serve):
    server = serve("semantic")
    host = f"localhost:{server.server_address[1]}"
    assert ask(server, "/about", None, {"Host": host})[0] == 200
    own = {"Host": host, "Origin": f"http://{host}"}
    assert ask(server, "/predict", png(), own)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"X-Token": None},
        {"X-Token": "wrong"},
        {"X-Token": "ä"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/predict", "/example", "/explain"])
def test_other_pages_cannot_ask(serve, path, headers):
    status, found, _ = ask(serve("semantic"), path, png(), headers)
    assert status == 403 and found["error"].endswith(".")


def test_unknown_addresses_and_methods_are_refused(serve):
    server = serve("semantic")
    for path in ("/nothing", "/../setup.py", "/demo.html", "/%2e%2e/setup.py"):
        assert ask(server, path)[0] == 404
    assert ask(server, "/nothing", b"1")[0] == 404
    assert ask(server, "/results/00")[0] == 404
    for path in ("/predict", "/explain", "/example"):
        assert ask(server, path)[0] == 405
    for path in ("/", "/about", "/results/00"):
        assert ask(server, path, b"1")[0] == 405
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
        status, found, headers = ask(server, "/predict", None, method=method)
        assert status == 405 and found["error"] and headers["Allow"] == "GET, POST"


def test_files_that_are_no_images_are_a_sentence(serve):
    server, whole = serve("semantic"), png()
    for data, word in (
        (b"no image", "not an image"),
        (b"", "empty"),
        (whole[: len(whole) // 2], "broken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ):
        status, found, _ = ask(server, "/predict", data, {"X-Name": "..%2F..%2Fx.png"})
        assert status == 400 and word in found["error"]
        assert found["error"].startswith("x.png: ") and "Traceback" not in found["error"]


def headers_only(server: DemoServer, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """The answer to a request whose body never comes."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    connection.putrequest("POST", path)
    for name, value in (rights(server) | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    status, data = answer.status, json.loads(answer.read())
    connection.close()
    return status, data


def test_too_many_bytes_are_refused_before_they_come(serve):
    size = {"Content-Length": str(serving.UPLOAD_BYTES + 1)}
    status, found = headers_only(serve("semantic"), "/predict", size)
    assert status == 413 and "at most 20 MB" in found["error"]
    status, found = headers_only(serve("semantic"), "/explain", {"Content-Length": "10001"})
    assert status == 413


def test_a_length_is_needed_and_must_be_a_number(serve):
    server = serve("semantic")
    assert headers_only(server, "/predict", {})[0] == 411
    assert headers_only(server, "/predict", {"Transfer-Encoding": "chunked"})[0] == 411
    for length in ("-1", "1_0", "many", "1" * 30):
        assert headers_only(server, "/predict", {"Content-Length": length})[0] == 400


def test_an_upload_that_is_cut_off_is_a_sentence(serve):
    server = serve("semantic")
    lines = [f"Host: 127.0.0.1:{server.server_address[1]}", "Content-Length: 100"]
    lines += [f"{name}: {value}" for name, value in rights(server).items()]
    request = "\r\n".join(["POST /predict HTTP/1.1", *lines, "", "short"]).encode()
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert b" 400 " in answer and b"ended before the file was whole" in answer


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_images_of_too_many_pixels_are_refused_by_their_header(serve, monkeypatch):
    server = serve("semantic")
    assert ask(server, "/predict", bomb(60_000, 60_000))[0] == 413
    status, found, _ = ask(server, "/predict", bomb(10_000, 10_000))
    assert status == 413 and "cannot hold" in found["error"]
    monkeypatch.setattr(sessions, "PIXELS", 70 * 90 - 1)
    status, found, _ = ask(server, "/predict", png())
    assert status == 413 and "this page takes at most" in found["error"]
    monkeypatch.undo()
    monkeypatch.setattr(budgets, "PIXELS", 70 * 90 - 1)
    status, found, _ = ask(server, "/predict", png())
    assert status == 413 and "more than" in found["error"]


def test_questions_without_sense_are_sentences(serve):
    server = serve("detection")
    found = predict(server, png())
    for body in (b"{", b"[]", b"\xff", b"[" * 5000):
        assert ask(server, "/explain", body)[0] == 400
    assert ask(server, "/explain", b'{"id": "0"}')[0] == 404
    assert ask(server, "/explain", b'{"id": [1]}')[0] == 404
    for clicked in ({"object": 999}, {"object": -1}, {"object": "a"}, {"label": 7}, {"x": 5}):
        status, why, _ = ask(server, "/explain", question(found, **clicked))
        assert status == 422 and why["error"]


def test_a_missing_package_is_a_sentence(serve, monkeypatch):
    server = serve("semantic")
    found = predict(server, png())
    monkeypatch.setitem(__import__("sys").modules, "pytorch_grad_cam", None)
    status, why, _ = ask(server, "/explain", question(found, x=1, y=1))
    assert status == 422 and "pip install 'van_dense[explain]'" in why["error"]


def test_what_goes_wrong_inside_stays_in_the_terminal(serve, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(sessions, "describe", fail)
    status, found, _ = ask(serve("semantic"), "/predict", png())
    assert status == 500 and found == {
        "error": "Something went wrong in the program; its terminal says what."
    }
    assert "secret /path" in caplog.text


# --------------------------------------------------------------------------- many and old ones


def test_two_uploads_at_once_are_predicted_one_after_the_other(serve, monkeypatch):
    server = serve("semantic")
    loaded, running, most = server.session.loaded, [0], [0]
    original = type(loaded).predict

    def counted(self, *arguments, **options):
        running[0] += 1
        most[0] = max(most[0], running[0])
        try:
            return original(self, *arguments, **options)
        finally:
            running[0] -= 1

    monkeypatch.setattr(type(loaded), "predict", counted)
    sizes = [(70, 90), (50, 64), (64, 50), (40, 40)]
    with ThreadPoolExecutor(len(sizes)) as pool:
        found = list(pool.map(lambda size: predict(server, png(size=size)), sizes))
    assert [(one["height"], one["width"]) for one in found] == sizes
    assert len({one["id"] for one in found}) == len(sizes) and most == [1]


def test_few_uploads_wait_and_the_next_one_is_told_to_come_again(serve):
    server = serve("semantic")
    with server.session.busy, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(predict, server, png()) for _ in range(4)]
        while server.waiting._value:  # the four have not all come yet
            threading.Event().wait(0.01)
        status, found, _ = ask(server, "/predict", png())
        assert status == 503 and "try again" in found["error"]
        server.session.busy.release()
        assert all(one.result()["id"] for one in waiting)
        server.session.busy.acquire()


def test_the_last_results_are_kept(serve, monkeypatch):
    monkeypatch.setattr(sessions, "KEPT", 2)
    server = serve("semantic")
    keys = [predict(server, png(i))["id"] for i in range(3)]
    assert [ask(server, f"/results/{key}")[0] for key in keys] == [404, 200, 200]
    monkeypatch.setattr(sessions, "KEPT_BYTES", 1)
    last = predict(server, png())["id"]
    assert [ask(server, f"/results/{key}")[0] for key in (*keys, last)] == [404, 404, 404, 200]


def test_nothing_stays_on_the_disk(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", None)
    server = serve("detection")
    found = predict(server, png(), name="..%2Fout.png")
    assert ask(server, f"/results/{found['id']}")[2]["Content-Disposition"].endswith('"out.json"')
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_names_lose_folders_and_control_characters():
    assert clean_name("../../etc/passwd") == "passwd"
    assert clean_name("C:\\photos\\a.png") == "a.png"
    assert clean_name("a\r\nb.png") == r"a\r\nb.png"
    assert clean_name("") == clean_name("a/") == "image"
    assert len(clean_name("x" * 1000)) <= 80


# --------------------------------------------------------------------------------- the command


def test_a_taken_port_is_one_line(serve, monkeypatch, capsys):
    server = serve("classification")
    monkeypatch.setattr("van_dense.api.load", lambda *_, **__: server.session.loaded)
    port = server.server_address[1]
    assert main(["demo", "run", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: port {port} of 127.0.0.1: ") and error.count("\n") == 1


def test_ctrl_c_ends_it_with_130(serve, monkeypatch, capsys):
    loaded = serve("classification").session.loaded
    monkeypatch.setattr("van_dense.api.load", lambda *_, **__: loaded)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)

    def interrupt(self: DemoServer, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DemoServer, "serve_forever", interrupt)
    assert main(["demo", "runs/pets", "--no-browser"]) == 130
    assert re.match(r"pets: http://127\.0\.0\.1:\d+/ .*\nstopped\n$", capsys.readouterr().out)
    assert opened == []
    assert main(["demo", "runs/pets", "--open"]) == 130
    assert len(opened) == 1


@pytest.mark.parametrize("line", [["--port", "70000"], ["--open", "--no-browser"]], ids=str)
def test_a_wrong_command_line_is_told(line):
    with pytest.raises(SystemExit) as end:
        main(["demo", "run", *line])
    assert end.value.code == 2


def test_a_folder_without_images_is_an_error(tmp_path, capsys):
    assert main(["demo", "run", "--examples", str(tmp_path)]) == 1
    assert "nothing to read" in capsys.readouterr().err


def test_a_model_of_a_file_is_not_asked_why():
    loaded = load_tiny("classification")
    assert refusal(loaded) is None
    model = FileModel(network_of(loaded.model), lambda precision: lambda images: {})
    assert "cannot be explained" in refusal(replace(loaded, model=model))


@pytest.mark.slow
def test_an_exported_file_predicts_and_says_that_it_cannot_be_explained(tmp_path, photos: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from van_dense.api import load
    from van_dense.inference.export import write_file

    file = tmp_path / "model.onnx"
    (tmp_path / "model.pt").touch()
    options = {"checkpoint": tmp_path / "model.pt", "images": [photos / "0.png"]}
    write_file(load_tiny("classification"), file, **options)
    server = DemoServer(Session(load(file), Examples.of_folder(photos), file.name))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        assert "cannot be explained" in ask(server, "/about")[1]["unexplained"]
        found = predict(server, png())
        status, why, _ = ask(server, "/explain", question(found, label=0))
        assert status == 422 and "the run that it was made of" in why["error"]
    finally:
        server.shutdown()
        server.server_close()
