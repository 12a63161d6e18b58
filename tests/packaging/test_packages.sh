#!/usr/bin/env bash
# test_packages.sh SOURCE BUILD: the .deb packages hold what they should, and work when unpacked.
set -euo pipefail
source=$1
build=$2
if ! command -v cpack >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "cpack or dpkg-deb is missing"
  exit 77
fi
work=$(mktemp -d "$build/packages.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'FAILED: %s\n' "$1"
  exit 1
}

(cd "$work" && cpack --config "$build/CPackConfig.cmake" -B "$work/debs") >"$work/cpack.log" 2>&1 ||
  { tail -n 40 "$work/cpack.log"; fail "cpack"; }

plugins=()
for file in "$build"/lib/quiver/plugins/*.so; do plugins+=("$(basename "$file" .so)"); done
expected="quiver quiver-sdk"
for plugin in "${plugins[@]}"; do expected+=" quiver-plugin-${plugin//_/-}"; done
names=""
root=$work/root
for deb in "$work"/debs/*.deb; do
  name=$(dpkg-deb --field "$deb" Package)
  names+="$name "
  dpkg-deb --fsys-tarfile "$deb" | tar -t >"$work/$name.list"
  dpkg-deb --extract "$deb" "$root"
  grep -qx "./usr/share/doc/$name/copyright" "$work/$name.list" || fail "$name has no copyright file"
done
[[ "$(echo $names | tr ' ' '\n' | sort)" == "$(echo $expected | tr ' ' '\n' | sort)" ]] ||
  fail "packages: $names; expected: $expected"
[[ -z "$(find "$root" \( -type f -o -type d \) -perm /022)" ]] ||
  fail "others may write $(find "$root" \( -type f -o -type d \) -perm /022 | head -n 3)"

# Each in its place and nowhere else.
for plugin in "${plugins[@]}"; do
  holders=$(grep -lx "./usr/lib/quiver/plugins/$plugin.so" "$work"/*.list | xargs -n 1 basename)
  [[ "$holders" == "quiver-plugin-${plugin//_/-}.list" ]] || fail "$plugin.so is in: $holders"
done
for file in ./usr/bin/quiver ./usr/share/man/man1/quiver.1 \
  ./usr/share/bash-completion/completions/quiver; do
  grep -q "^$file\(\.gz\)\?$" "$work/quiver.list" || fail "quiver lacks $file"
done
grep -qx ./usr/include/quiver/entry.h "$work/quiver-sdk.list" || fail "quiver-sdk lacks entry.h"
if grep -q '\.so\|/bin/' "$work/quiver-sdk.list"; then fail "quiver-sdk holds programs"; fi
[[ "$(dpkg-deb --field "$work"/debs/quiver-sdk_*.deb Architecture)" == all ]] ||
  fail "quiver-sdk depends on the machine"

# Unpacked into a folder, the program finds its plugins, each of which loads.
export HOME=$work XDG_CACHE_HOME=$work/cache XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config
unset QUIVER_PLUGIN_PATH
quiver=$root/usr/bin/quiver
"$quiver" plugins list --json >"$work/list.json"
for plugin in "${plugins[@]}"; do
  grep -q "\"$plugin\"" "$work/list.json" || fail "$plugin is not listed by the unpacked program"
done
if grep -qE '"state": ?"(refused|broken|shadowed)"' "$work/list.json"; then cat "$work/list.json"; fail "a state"; fi

# A plugin is its file: gone when it is deleted.
rm "$root/usr/lib/quiver/plugins/${plugins[0]}.so"
if "$quiver" plugins list --json | grep -q "\"name\": \?\"${plugins[0]}\""; then
  fail "${plugins[0]} is still listed after its file was deleted"
fi

# The code in docs/plugins.md builds against the unpacked SDK, and the unpacked program accepts it.
mkdir "$work/example"
code_block() {
  sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$source/docs/plugins.md" | sed '/^```/d'
}
code_block cmake >"$work/example/CMakeLists.txt"
code_block cpp >"$work/example/my-sampler.cpp"
build_example() {
  cmake -S "$work/example" -B "$work/example/build" -G Ninja -DCMAKE_PREFIX_PATH="$root/usr" &&
    cmake --build "$work/example/build"
}
build_example >"$work/example.log" 2>&1 ||
  { tail -n 40 "$work/example.log"; fail "the example does not build against the package"; }
"$quiver" plugins check "$work/example/build/my-sampler.so" >"$work/check.log" ||
  { cat "$work/check.log"; fail "the example does not pass the checks"; }
echo "passed"
