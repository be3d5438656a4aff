"""Parse PowerShell with tree-sitter, and walk its tree."""

import tree_sitter
import tree_sitter_powershell

Node = tree_sitter.Node
LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
# Nodes that mean something even with one child.
_MEANS = {"array_expression", "parenthesized_expression", "sub_expression", "hash_literal_expression", "command"} | {
    *("script_block_expression", "expandable_string_literal", "foreach_statement", "if_statement", "variable"),
}


def parse(script: str) -> Node:
    """Parse a script. An error in it fails the test."""
    root = tree_sitter.Parser(LANGUAGE).parse(script.replace("\r\n", "\n").encode()).root_node
    assert not root.has_error
    return root


def text(node: Node) -> str:
    """The source of a node."""
    assert node.text is not None
    return node.text.decode()


def inner(node: Node) -> list[Node]:
    """The children that mean something."""
    return [
        child for child in node.children if child.type not in ("comment", "empty_statement", "command_argument_sep")
    ]


def down(node: Node) -> Node:
    """Go down through nodes that only wrap another one."""
    while len(parts := inner(node)) == 1 and parts[0].is_named and node.type not in _MEANS:
        node = parts[0]
    return node
