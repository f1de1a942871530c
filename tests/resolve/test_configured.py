"""What is configured for pip and uv, without running either."""

from __future__ import annotations

from pathlib import Path

import pytest

from casfs.resolve.access import Access, build_access, split_login
from casfs.resolve.configured import read_pip_settings, read_uv_settings, translate

INDEX = "https://index.example/simple"


def test_what_pip_knows_is_said_to_uv() -> None:
    pip = {"index-url": INDEX, "find-links": "/a /b", "pre": "yes", "constraint": "/c.txt", "trusted-host": "h", "cert": "/ca.pem"}
    found = translate((), {}, pip, ())
    words = ["--index-url", INDEX, "--find-links", "/a", "--find-links", "/b", "--prerelease", "allow", "--constraints", "/c.txt"]
    assert found.options == (*words, "--allow-insecure-host", "h")
    assert found.environ == {"SSL_CERT_FILE": "/ca.pem"}


def test_several_indexes_of_pip_are_one_to_it() -> None:
    options = translate((), {}, {"extra-index-url": "https://a\nhttps://b"}, ()).options
    assert options == ("--extra-index-url", "https://a", "--extra-index-url", "https://b", "--index-strategy", "unsafe-best-match")


@pytest.mark.parametrize(
    ("typed", "environ", "uv"),
    [
        (("--index-url", "https://x"), {}, ()),
        (("--no-index",), {}, ()),
        ((), {"UV_DEFAULT_INDEX": "https://x"}, ()),
        ((), {}, ({"index-url": "https://x"},)),
        ((), {}, ({"index": [{"url": "https://x"}]},)),
        ((), {}, ({"pip": {"extra-index-url": ["https://x"]}},)),
    ],
)
def test_index_that_is_said_to_uv_itself_counts_before_pip_s(typed, environ, uv) -> None:
    assert translate(typed, environ, {"index-url": INDEX}, uv).options == ()


def test_certificates_and_proxies_of_the_environment_count_before_pip_s() -> None:
    environ = {"SSL_CERT_FILE": "/mine", "https_proxy": "http://mine"}
    assert translate((), environ, {"cert": "/ca.pem", "proxy": "http://other"}, ()).environ == environ


def test_pip_s_files_are_read_from_the_widest_to_the_nearest(tmp_path: Path) -> None:
    for name, text in (
        ("etc/pip/pip.conf", "[global]\nindex-url = system\nproxy = system\nlevel = system\n"),
        (".config/pip/pip.conf", "[global]\nindex-url = user\nproxy = user\n[install]\nproxy = install\n"),
        ("broken.conf", "no section"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "etc"), "PIP_INDEX_URL": "variable"}
    found = read_pip_settings(environ)
    assert (found["index-url"], found["proxy"], found["level"]) == ("variable", "install", "system")
    assert read_pip_settings({**environ, "PIP_CONFIG_FILE": "/dev/null"}) == {"index-url": "variable", "config-file": "/dev/null"}
    assert read_pip_settings({**environ, "PIP_CONFIG_FILE": str(tmp_path / "broken.conf")})["level"] == "system"


def test_uv_s_files_are_read_from_the_nearest_to_the_widest(tmp_path: Path) -> None:
    inner = tmp_path / "project/inner"
    inner.mkdir(parents=True)
    (tmp_path / "project/pyproject.toml").write_text('[tool.uv]\nindex-url = "project"\n')
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv/uv.toml").write_text('index-url = "user"\n')
    environ = {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": "/nowhere"}
    assert [table["index-url"] for table in read_uv_settings(environ, inner)] == ["project", "user"]
    assert read_uv_settings({**environ, "UV_NO_CONFIG": "1"}, inner) == []


# --- access


def test_login_of_an_index_is_for_its_scheme_host_and_port_alone() -> None:
    access = build_access(("--index-url", "https://me:a%20b@index.example/simple"), {}, ())
    assert access.login("https://index.example/files/x.whl") == ("me", "a b")
    for other in ("http://index.example/x", "https://index.example:8443/x", "https://files.index.example/x", "https://index.example.org/x"):
        assert access.login(other) is None
    assert access.login("https://you:c@index.example/x") == ("you", "c")


def test_logins_of_named_indexes_stand_in_variables() -> None:
    environ = {"UV_INDEX": f"our-own={INDEX}", "UV_INDEX_OUR_OWN_USERNAME": "me", "UV_INDEX_OUR_OWN_PASSWORD": "secret"}
    assert build_access((), environ, ()).login(f"{INDEX}/x.whl") == ("me", "secret")
    named = ({"index": [{"name": "our-own", "url": INDEX}]},)
    assert build_access((), {**environ, "UV_INDEX": ""}, named).login(f"{INDEX}/x.whl") == ("me", "secret")


def test_url_is_shown_without_its_login() -> None:
    assert split_login("https://me:secret@host:1/x?y#z") == ("https://host:1/x?y#z", ("me", "secret"))
    assert split_login("https://host/x") == ("https://host/x", None)


def test_keyring_is_not_asked_unless_it_is_wanted() -> None:
    assert Access({"https://host": ("me", "")}).ask_keyring("https://host/x") is None
    assert build_access((), {"UV_KEYRING_PROVIDER": "subprocess"}, ()).has_keyring
    assert not build_access((), {"UV_KEYRING_PROVIDER": "disabled"}, ()).has_keyring


def test_host_may_be_named_with_or_without_its_port() -> None:
    access = build_access(("--allow-insecure-host", "one.example"), {"UV_INSECURE_HOST": "two.example:8443"}, ())
    assert access.is_insecure("https://one.example:1/x")
    assert access.is_insecure("https://two.example:8443/x")
    assert not access.is_insecure("https://two.example/x")
