"""The Debian tree with spam filters in it: that of Sendmail, and apt, which takes a third of debootstrap's time."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from support.machines.docker import mirror, run
from support.machines.tree import debian_tree

PACKAGES = ("rspamd", "spamassassin")

# $1 the tree.
_INSTALL = f"""
set -e
mount -t proc proc "$1/proc"
printf '#!/bin/sh\\nexit 101\\n' >"$1/usr/sbin/policy-rc.d"
chmod 755 "$1/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$1" apt-get -qq update
chroot "$1" apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends {" ".join(PACKAGES)}
chroot "$1" apt-get clean
"""


def filters_tree() -> Path:
    """The tree, from the cache where it is there. Only for root; needs a Debian mirror the first time."""
    base = debian_tree()
    digest = hashlib.sha256(f"{base.name} {PACKAGES}".encode()).hexdigest()[:12]
    tree = base.parent / f"spam-filters-bookworm-{digest}"
    if tree.exists():
        return tree
    scratch = Path(tempfile.mkdtemp(dir=base.parent, prefix="building-"))
    try:
        building = scratch / "tree"
        run(["cp", "-a", base, building])
        shutil.copy("/etc/resolv.conf", building / "etc" / "resolv.conf")
        for uri in mirror("bookworm"):
            (building / "etc" / "apt" / "sources.list").write_text(f"deb {uri} bookworm main\n")
        if Path("/etc/apt/apt.conf.d").is_dir():  # how this machine reaches its mirror
            shutil.copytree("/etc/apt/apt.conf.d", building / "etc/apt/apt.conf.d", dirs_exist_ok=True)
        run(["unshare", "--mount", "sh", "-c", _INSTALL, "sh", building], timeout=600)
        try:
            building.rename(tree)
        except OSError:
            assert tree.exists()  # another run of the tests was faster
    finally:
        shutil.rmtree(scratch)
    return tree
