"""Terraform addresses that people can read and type."""

from __future__ import annotations

from typing import TypeVar

from cdktf import TerraformElement

Element = TypeVar("Element", bound=TerraformElement)


def named(element: Element, address: str) -> Element:
    """Give an element the last part of its address in the state, `aws_sqs_queue.<address>`, and return it.

    CDKTF would derive one from the construct's path and a hash.
    """
    element.override_logical_id(address)
    return element
