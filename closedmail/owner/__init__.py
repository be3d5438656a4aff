"""Do what concerns the state directory as its owner: root never reads or writes there."""

from closedmail.owner.child import (
    Ask,
    ask_as_owner,
    become_owner,
    call_as_owner,
    other_owner,
    stream_as_owner,
    user_name,
)

__all__ = ["Ask", "ask_as_owner", "become_owner", "call_as_owner", "other_owner", "stream_as_owner", "user_name"]
