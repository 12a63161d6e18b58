#!/bin/sh
# Installs the SDK from a build folder and builds projects against it as a stranger would: every
# example and a new project of every kind, each checked by the built program.
#
#     test_out_of_tree.sh BUILD
set -eu

build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
quiver=$build/bin/quiver
work=$(mktemp -d "${TMPDIR:-/tmp}/quiver-sdk-XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  echo "test_out_of_tree: $*" >&2
  exit 1
}

# Runs a command quietly; shows what it printed only where it fails.
quietly() {
  if ! "$@" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    fail "failed: $*"
  fi
}

[ -x "$quiver" ] || fail "$quiver is not built"

# Plugins must be built with the sanitizers of their host, or their stamp is refused.
sanitize=$(sed -n 's/^QUIVER_SANITIZE:[A-Z]*=//p' "$build/CMakeCache.txt")
flags=${sanitize:+-fsanitize=$sanitize}

# Installed in one place and used in another: nothing may remember where it came from.
quietly cmake --install "$build" --prefix "$work/first" --component sdk
mv "$work/first" "$work/sdk"
if grep -rlF -e "$build" -e "$source" -e "$work/first" "$work/sdk"; then
  fail "installed files name the folder they came from"
fi
for header in "$source"/plugin-api/include/quiver/*; do
  [ -f "$work/sdk/include/quiver/$(basename "$header")" ] || fail "$header is not installed"
done
outside=$(find "$work/sdk" -type f ! -path '*/include/quiver/*' ! -path '*/cmake/quiver-sdk/*' \
  ! -path '*/doc/quiver-sdk/*')
[ -z "$outside" ] || fail "installed beside the SDK: $outside"

# build_project NAME FOLDER [cmake argument..]: configures, builds, runs the project's own test.
build_project() {
  name=$1
  folder=$2
  shift 2
  quietly cmake -S "$folder" -B "$work/build-$name" -DCMAKE_PREFIX_PATH="$work/sdk" \
    -DQUIVER_PROGRAM="$quiver" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror $flags" "$@"
  quietly cmake --build "$work/build-$name"
  quietly ctest --test-dir "$work/build-$name" --no-tests=error --output-on-failure
  echo "ok  $name: $(grep -o '[0-9]* passed, [0-9]* failed, [0-9]* skipped' \
    "$work/build-$name/Testing/Temporary/LastTest.log" | tail -1)"
}

# Another major is refused by the package itself.
mkdir "$work/future"
cat >"$work/future/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(future LANGUAGES NONE)
find_package(quiver-sdk 3 REQUIRED)
END
if cmake -S "$work/future" -B "$work/future/build" -DCMAKE_PREFIX_PATH="$work/sdk" >/dev/null 2>&1; then
  fail "find_package(quiver-sdk 3) finds the SDK of API 2"
fi

# The examples, copied, so that nothing but the SDK can be found beside them.
cp -r "$source/plugins/examples" "$work/examples"
build_project sampler-c "$work/examples/sampler-c"
build_project sampler-cpp "$work/examples/sampler-cpp"
build_project arch-cpp "$work/examples/arch-cpp"
if command -v clang++ >/dev/null && [ -z "$flags" ]; then
  build_project sampler-cpp-clang "$work/examples/sampler-cpp" -DCMAKE_CXX_COMPILER=clang++
fi
cargo=$(command -v cargo || command -v cargo-1.85 || true)
if [ -n "$cargo" ]; then
  rust=$work/examples/sampler-rust
  quietly "$cargo" build --release --offline --locked --manifest-path "$rust/Cargo.toml" \
    --target-dir "$work/rust"
  cp "$rust/rust.sampler.json" "$work/rust/release/"
  quietly "$quiver" plugins check "$work/rust/release/rust.sampler.json"
  echo "ok  sampler-rust: $(tail -1 "$work/log")"
fi

# A new project of every kind builds and passes unchanged.
for kind in architecture sampler canvas-sampler quant kv; do
  quietly "$quiver" plugins new "$work/new-$kind" --kind "$kind" --name "my-$kind"
  build_project "new-$kind" "$work/new-$kind"
done
quietly "$quiver" plugins new "$work/new-c" --kind sampler --name my-c-sampler --language c
build_project new-c "$work/new-c"
