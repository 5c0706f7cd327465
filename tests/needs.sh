#!/bin/sh
# Installs the programs that some tests need from Debian if it has the permission: as root, or with sudo that needs no password.
# Otherwise it prints the command, and those tests are skipped.
set -u

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=
for need in nginx:nginx-light wrk:wrk curl:curl openssl:openssl systemd-analyze:systemd ip:iproute2 nft:nftables redis-server:redis-server redis-cli:redis-tools fish:fish zsh:zsh mandoc:mandoc; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need##*:}"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    sudo -n true 2>/dev/null || as_root=no
fi
if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
    echo "Some tests will be skipped. To install what they need: sudo apt-get install --no-install-recommends$missing"
    exit 0
fi

# Debian starts servers when their packages are installed; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

echo "Installing for the tests:$missing"
install() {
    # shellcheck disable=SC2086 # one word for each package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >/dev/null
}
install 2>/dev/null || { $as_root apt-get update -qq && install; } ||
    echo "That failed, so some tests will be skipped. To install what they need: sudo apt-get install --no-install-recommends$missing"
exit 0
