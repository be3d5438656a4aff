# Shared by the scripts beside it, which source it. Debian packages and the virtual environment `.venv`.
# shellcheck shell=bash

# Debian's own programs first: another python3 or openssl in front of them is not what the packages were built for.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Install the Debian packages among "$@" that are missing. Starts no service and removes nothing: a mail server that is
# there is left alone, and a freshly installed Postfix stays unconfigured.
install_packages() {
    local package missing=()
    if ! command -v apt-get >/dev/null; then
        say "no apt-get here; going on with what is installed (Debian packages: $*)"
        return
    fi
    for package in "$@"; do
        # The certificates count where they are without the package: installing it would write the file anew.
        if [[ "$package" == ca-certificates && -s /etc/ssl/certs/ca-certificates.crt ]]; then
            continue
        fi
        if [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]]; then
            missing+=("$package")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    ((EUID == 0)) || die "must be root to install: ${missing[*]}"
    say "installing with apt: ${missing[*]}"
    local log
    log=$(mktemp)
    # A subshell, for its exit trap. In front of || bash ignores "set -e", hence each `|| exit`.
    (
        export DEBIAN_FRONTEND=noninteractive
        apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
        if [[ ! -e /usr/sbin/policy-rc.d ]]; then
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        "${apt[@]}" update || exit
        if [[ " ${missing[*]} " == *" postfix "* ]]; then
            # Asked of debconf before the package is there: "No configuration" writes no main.cf.
            printf 'postfix postfix/main_mailer_type select No configuration\n' | debconf-set-selections || exit
        fi
        "${apt[@]}" install --no-install-recommends --no-remove "${missing[@]}" || exit
    ) >"$log" 2>&1 || {
        cat "$log" >&2
        rm -f "$log"
        die "apt could not install: ${missing[*]}; see above (nothing is ever removed for it, such as another mail server)"
    }
    rm -f "$log"
}

# Make `.venv` with this checkout in it, and the given extra ("" or "test"), unless it is there and up to date.
make_environment() {
    local extra=$1 python stamp=.venv/closedmail-stamp wanted
    wanted="$extra $(sha256sum setup.cfg pyproject.toml | sha256sum)"
    if [[ -x .venv/bin/python ]] && .venv/bin/python -c "$recent_enough" 2>/dev/null; then
        # What has the test packages has all others too.
        if grep -sqxF -e "$wanted" -e "test ${wanted#* }" "$stamp"; then
            return
        fi
    else
        python=$(find_python)
        say "making .venv with $python"
        "$python" -m venv --clear .venv
    fi
    say "installing into .venv with pip"
    .venv/bin/python -m pip install --quiet --editable ".${extra:+[$extra]}"
    printf '%s\n' "$wanted" >"$stamp"
}

recent_enough='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'

find_python() {
    local python
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$python" -c "$recent_enough" 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)"
}
