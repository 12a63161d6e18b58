# Shell functions that find out which packages the build needs, and install those that are missing.
#
# Sourced by run-tests and quickstart, with bash in strict mode. Groups of packages:
#   build  compiler, CMake and the libraries that the program stands on
#   text   a cargo that is new enough for the text library
#   image  decoders of JPEG, PNG and WebP, for families that look at pictures
#   test   test libraries, and clang with libc++ for tests across compilers
#   lint   clang-format and clang-tidy      fuzz  the runtime of clang's fuzzer
#   fetch  Python's package downloader      deb   what building .deb files takes
#   mpi    conversions that several processes share
#   cross  a compiler for 64-bit ARM and the emulator of its programs
#
# Knows Debian 12, Ubuntu 24.04 and their successors. Elsewhere nothing is installed, and CMake says
# what it misses.

# Paths inside the tree are hashed as relative ones, so that builds in several folders share a cache.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true

readonly quiver_cargo_minimum=85  # the minor of 1.85, see core/text/crate/Cargo.toml

quiver_fail() {
  printf '%s: %s\n' "${quiver_program:-quiver}" "$*" >&2
  exit 1
}

# quiver_quietly LOG COMMAND..: runs the command; its output is shown only when it fails.
quiver_quietly() {
  local log=$1
  shift
  if "$@" >"$log" 2>&1 </dev/null; then return 0; fi
  printf '%s\n' "--- the end of $log" >&2
  tail -n 60 "$log" >&2
  printf '%s\n' "---" >&2
  return 1
}

quiver_has_package() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true)" == installed ]]
}

quiver_can_get_package() {
  [[ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null | head -n 1)" ]]
}

# The first package of a list that is installed, else the first that can be had, else the first.
quiver_choose_package() {
  local name
  for name in "$@"; do
    if quiver_has_package "$name"; then echo "$name" && return; fi
  done
  for name in "$@"; do
    if quiver_can_get_package "$name"; then echo "$name" && return; fi
  done
  echo "$1"
}

# Puts a cargo that was installed in an unusual place on the PATH, and says whether there is one
# that is new enough.
quiver_find_cargo() {
  local folder minor
  for folder in "" "$HOME/.cargo/bin" $(compgen -G '/usr/lib/rust-1.*/bin' | sort -rV || true); do
    minor=$(PATH="${folder:+$folder:}$PATH" cargo --version 2>/dev/null |
      sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p' || true)
    if [[ -n "$minor" && "$minor" -ge "$quiver_cargo_minimum" ]]; then
      if [[ -n "$folder" ]]; then export PATH="$folder:$PATH"; fi
      return 0
    fi
  done
  return 1
}

# Packages that bring such a cargo: Debian 12 has cargo-web, Ubuntu 24.04 has cargo-1.NN.
quiver_cargo_packages() {
  local version minor
  version=$(apt-cache policy cargo 2>/dev/null | sed -n 's/^ *Candidate: *//p')
  if [[ "$version" =~ ^([0-9]+:)?1\.([0-9]+) && "${BASH_REMATCH[2]}" -ge "$quiver_cargo_minimum" ]]; then
    echo cargo && return
  fi
  if quiver_can_get_package cargo-web; then echo cargo-web rustc-web && return; fi
  for ((minor = quiver_cargo_minimum; minor < quiver_cargo_minimum + 40; minor++)); do
    if quiver_can_get_package "cargo-1.$minor"; then echo "cargo-1.$minor" "rustc-1.$minor" && return; fi
  done
  echo cargo-web
}

# The major version of the clang that is, or would be, installed.
quiver_clang_version() {
  local version
  version=$(clang++ -dumpversion 2>/dev/null || true)
  if [[ -z "$version" ]]; then
    version=$(apt-cache show --no-all-versions clang 2>/dev/null | sed -n 's/^Depends:.*clang-\([0-9]*\).*/\1/p')
  fi
  echo "${version%%.*}"
}

# Every package of one group, a line each, whether installed or not. A tool that is on the PATH
# already, wherever it came from, is left out.
quiver_group() {
  local tool
  case $1 in
    build)
      for tool in g++ cmake ninja:ninja-build pkg-config ccache; do
        command -v "${tool%%:*}" >/dev/null || echo "${tool##*:}"
      done
      quiver_choose_package libboost1.81-dev libboost1.83-dev libboost1.88-dev
      quiver_choose_package libboost-program-options1.81-dev libboost-program-options1.83-dev \
        libboost-program-options1.88-dev
      printf '%s\n' libffi-dev libfmt-dev libopenblas-openmp-dev libssl-dev nlohmann-json3-dev zlib1g-dev
      ;;
    text) quiver_find_cargo || quiver_cargo_packages | tr ' ' '\n' ;;
    image) printf '%s\n' libjpeg-dev libpng-dev libwebp-dev ;;
    test)
      command -v clang++ >/dev/null || echo clang
      command -v python3 >/dev/null || echo python3
      printf '%s\n' libbenchmark-dev libc++-dev libc++abi-dev libgmock-dev libgtest-dev
      ;;
    lint)
      for tool in clang-format clang-tidy git; do command -v "$tool" >/dev/null || echo "$tool"; done
      ;;
    fuzz)
      command -v clang++ >/dev/null || echo clang
      echo "libclang-rt-$(quiver_clang_version)-dev"
      ;;
    fetch)
      command -v python3 >/dev/null || echo python3
      python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
      python3 -c 'import ensurepip' >/dev/null 2>&1 || echo python3-venv
      ;;
    mpi) printf '%s\n' libopenmpi-dev openmpi-bin ;;
    deb)
      command -v dpkg-shlibdeps >/dev/null || echo dpkg-dev
      command -v file >/dev/null || echo file
      ;;
    cross) printf '%s\n' g++-aarch64-linux-gnu googletest libfmt-dev qemu-user ;;
    *) quiver_fail "there is no package group '$1'" ;;
  esac
}

# quiver_missing_packages GROUP..: names of what is not installed, a line each.
quiver_missing_packages() {
  local group name
  for group in "$@"; do
    while read -r name; do
      if ! quiver_has_package "$name"; then echo "$name"; fi
    done < <(quiver_group "$group")
  done | sort -u
}

quiver_as_root() {
  if [[ $(id -u) == 0 ]]; then
    env "$@"
  elif command -v sudo >/dev/null; then
    sudo env "$@"
  else
    quiver_fail "installing packages needs root, and sudo is not here: run as root, or use --no-install"
  fi
}

# quiver_install_packages MODE GROUP..: installs what is missing. MODE is yes (without a question),
# ask (on a terminal; yes elsewhere) or no (say what is missing and go on).
quiver_install_packages() {
  local mode=$1 answer names
  shift
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    printf 'This is not a Debian or Ubuntu system: what docs/dependencies.md lists must be installed.\n'
    return 0
  fi
  names=$(quiver_missing_packages "$@" | tr '\n' ' ')
  names=${names% }
  if [[ -z "$names" ]]; then return 0; fi
  if [[ "$mode" == no ]]; then
    printf 'Not installed, as asked for: %s\n' "$names"
    return 0
  fi
  if [[ "$mode" == ask && -t 0 && -t 1 ]]; then
    read -r -p "Install with apt-get: $names? [Y/n] " answer
    if [[ "$answer" =~ ^[nN] ]]; then return 0; fi
  fi
  printf 'Installing %s\n' "$names"
  quiver_apt_install "$@" || quiver_fail "the packages could not be installed: see above"
  quiver_find_cargo || true
}

# The lists are fetched first, and the names found again with them: a fresh system has none.
quiver_apt_install() {
  local log names
  log=$(mktemp)
  local options=(DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=600)
  quiver_quietly "$log" quiver_as_root "${options[@]}" update || return 1
  mapfile -t names < <(quiver_missing_packages "$@")
  # --no-remove: an older Boost that somebody needs is not thrown out without a question.
  quiver_quietly "$log" quiver_as_root "${options[@]}" install --no-remove \
    --no-install-recommends "${names[@]}" || return 1
  rm -f "$log"
}
