"""Scenes of filters that change the content for each subscriber, and of items that ask for such filters."""

from __future__ import annotations

from .scenes import Scene, control, controls, message, subscribe, subscriber
from .sides import Client, Stage
from .tables import Table, items


def set_meta(**values: str) -> bytes:
    return b"".join(control(type="set-meta", name=name, value=value) for name, value in values.items())


def subst(x: str, *filters: str, **meta: str) -> tuple[Scene]:
    """A text to a subscriber with these filters, or else `var-subst`, and with this meta."""
    return (controls(set_meta(user="ada", **meta), subscribe("c", filters=filters or ("var-subst",)), x=x),)


def build(x: str, **meta: str) -> tuple[Scene]:
    return subst(x, "build-id", **meta)


def asking(asked: object, *filters: str) -> tuple[Scene]:
    """An item with these content-filters to a subscriber with other filters."""
    return (controls(set_meta(user="ada"), subscribe("c", filters=filters), content_filters=asked),)


async def two_subscribers(stage: Stage) -> None:
    """Each gets its own text, a third one without filters the published one; and they go on so."""
    clients: list[Client] = []
    for user in ("ada", "bob"):
        client = await subscriber(stage, set_meta(user=user), subscribe("c", filters=["var-subst"]))
        clients.append(client)
    clients.append(await subscriber(stage, subscribe("c")))
    await stage.publish({"items": [message("for %(user)s"), message("50%"), message("100%%")]})
    for number, client in enumerate(clients):
        await stage.subscribed(client, str(number))


async def meta_changes(stage: Stage) -> None:
    async def changed(*messages: bytes) -> None:
        client = await subscriber(stage, *messages)
        await stage.publish(items(message("hi %(user)s")))
        await stage.subscribed(client, "at the end")

    await changed(subscribe("c", filters=["var-subst"]), set_meta(user="ada"))
    await changed(set_meta(user="ada"), subscribe("c", filters=["var-subst"]), set_meta(user="bob"))
    await changed(set_meta(user="ada"), subscribe("c", filters=["var-subst"]), control(type="set-meta", name="user"))


CONTENT: Table = {
    "a name": subst("%(user)s %% %(user)s"),
    "nothing to replace": subst("x"),
    "an empty text": subst(""),
    "no such name": subst("%(other)s"),
    "an empty value": subst("[%(empty)s]", empty=""),
    "an empty name": subst("%()s"),
    "another kind": subst("%(user)I"),
    "no name": subst("%s"),
    "a percent sign at the end": subst("100%"),
    "a percent sign before a blank": subst("100% x"),
    "no bracket at the end": subst("%(user"),
    "nothing behind the bracket": subst("%(user)"),
    "a percent sign behind the bracket": subst("%(user)%"),
    "an escaped bracket": subst("%(a\\)b)s %(a\\bc)s", **{"a)b": "1", "abc": "2"}),
    "an escape at the end": subst("%(user\\"),
    "a name that is not ASCII": subst("%(größe)s %(user)s", größe="groß"),
    "a value with a directive": subst("%(user2)s", user2="%(user)s"),
    "a line break": subst("%(a\nb)s\n%(user)s", **{"a\nb": "1"}),
    "an id": build("%(a b)I %%", id_format="x"),
    "an id in hex": build("%(a\\)z)I", id_format="x", id_encoding="hex"),
    "an id of another encoding": build("%(a)I", id_format="x", id_encoding="base64"),
    "an id of an empty encoding": build("%(a)I", id_format="x", id_encoding=""),
    "an id of an empty format": build("%(a)I", id_format=""),
    "an id without a format": build("%(a)I"),
    "no id, without a format": build("x"),
    "no id": build("%I", id_format="x"),
    "an empty id": build("%()I", id_format="x"),
    "a name in the place of an id": build("%(user)s", id_format="x"),
    "both filters": subst("%%(a)I %(user)s", "var-subst", "build-id", id_format="x"),
    "both filters the other way round": subst("%(a)I %%(user)s", "build-id", "var-subst", id_format="x"),
    "a filter twice": subst("%%(user)s", "var-subst", "var-subst"),
    "one that leaves out": (
        controls(
            set_meta(user="ada"),
            subscribe("c", filters=["skip-self", "var-subst"]),
            x="%(user)s",
            meta={"sender": "ada"},
        ),
    ),
    "an unknown one beside": subst("%(user)s", "foo", "var-subst"),
    "six filters": subst("%(user)s", *["skip-self"] * 5, "var-subst"),
    "asked for": asking(["var-subst"], "var-subst"),
    "asked for, among others": asking(["var-subst"], "skip-self", "var-subst", "foo"),
    "asked for, none": asking([], "var-subst"),
    "asked for, and there is none": asking(["var-subst"]),
    "asked for in another order": asking(["var-subst", "build-id"], "build-id", "var-subst"),
    "asked for, not of content": asking(["skip-self"], "skip-self"),
    "none asked for, and there is none": asking([]),
    "two subscribers": (two_subscribers,),
    "meta that changes": (meta_changes,),
}
