"""Which host has which link: one for all, one each, up and down apart, and random ones that differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from kimad.trace import Concat, Const, HostLink, LinkError, Markov, Scale, Walk, parse_link, parse_links

TRACE = "0 1\n5 10\n9 20\n"


def const(mbps: float) -> Const:
    return Const(mbps)


def test_one_spec_is_for_all() -> None:
    links = parse_links("const:5", 3)
    assert links == [HostLink(const(5), const(5))] * 3


@pytest.mark.parametrize(
    "spec", ["const:1;const:2", ["const:1", "const:2"], ["const:1;const:2"], ("const:1 ; const:2",)]
)
def test_several_specs_are_one_each(spec: str | list[str]) -> None:
    assert [link.up for link in parse_links(spec, 2)] == [const(1), const(2)]


@pytest.mark.parametrize("hosts", [1, 3])
def test_number_of_specs_must_fit(hosts: int) -> None:
    with pytest.raises(LinkError, match=f"2 links for {hosts} hosts; give one for all, or one for each"):
        parse_links("const:1;const:2", hosts)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no known kind"),
        ("const:1;", "no known kind"),
        ([], "0 links"),
        ("const:1/const:x", "'x'"),
        ("/", "no such"),
    ],
)
def test_wrong_specs_are_refused(spec: str | list[str], said: str) -> None:
    with pytest.raises(LinkError, match=said):
        parse_links(spec, 2)
    with pytest.raises(LinkError, match="1 or more"):
        parse_links("const:1", 0)


def test_up_and_down_have_their_own() -> None:
    assert parse_links("const:1/const:2;const:3", 2) == [HostLink(const(1), const(2)), HostLink(const(3), const(3))]
    link = parse_links("concat:1,const:1|2,const:2 / scale:2,const:3", 1)[0]
    assert isinstance(link.up, Concat)
    assert isinstance(link.down, Scale)


def test_slash_of_a_path_is_no_separator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b;c"):
        path = tmp_path / "some" / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRACE, encoding="utf-8")
    mean = (5 * 10 + 4 * 20) / 9
    for spec in ("some/folder/a", str(tmp_path / "some/folder/a"), "pensieve:some/folder/a", "some/folder/b;c"):
        (link,) = parse_links(spec, 1)
        assert link.up is link.down
        assert str(link.up) == spec
        assert link.up.mean_mbps(0, 9) == pytest.approx(mean)
    for spec in (
        "some/folder/a/const:3",
        "scale:1,some/folder/a/const:3",
        f"pensieve:{tmp_path}/some/folder/a/const:3",
    ):
        (link,) = parse_links(spec, 1)
        assert link.up.mean_mbps(0, 9) == pytest.approx(mean)
        assert link.down == const(3)
    (link,) = parse_links("const:3/some/folder/a", 1)
    assert (str(link.up), str(link.down)) == ("const:3", "some/folder/a")
    (link,) = parse_links("some/folder/a/some/folder/a", 1)
    assert str(link.up) == str(link.down) == "some/folder/a"


def test_random_links_without_a_seed_differ_between_hosts() -> None:
    links = parse_links("walk:30,330,20", 3)
    assert [str(link.up) for link in links] == [f"walk:30,330,20,{host}" for host in range(3)]
    assert all(link.up is link.down for link in links)
    assert len({link.up.mbps(100) for link in links}) == 3
    assert parse_links("walk:30,330,20,5", 3) == [HostLink(Walk(30, 330, 20, 5), Walk(30, 330, 20, 5))] * 3
    (link,) = parse_links("walk:30,330,20/walk:30,330,20", 1)
    assert link.up != link.down
    (_, link) = parse_links("scale:2,markov:9,0,1,1;concat:1,markov:9,0,1,1", 2)
    assert link.up == Concat(((1.0, Markov(9, 0, 1, 1, 1)),))
    assert parse_link("walk:30,330,20").mbps(7) == parse_link("walk:30,330,20,0").mbps(7)


def test_printed_specs_are_the_same_links() -> None:
    for link in parse_links("scale:2,walk:1,9,2/markov:1,0,2,3", 4):
        assert parse_link(str(link.up)) == link.up
        assert parse_link(str(link.down)) == link.down
