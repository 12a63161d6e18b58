#!/usr/bin/env bash
# test_selective_build.sh SOURCE BUILD SHARED: a build with some plugins has those, and nothing that only
# the others need.
set -euo pipefail
source=$1
shared=$3
work=$(mktemp -d "$2/selective.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'FAILED: %s\n' "$1"
  exit 1
}

configure() {
  cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DQUIVER_TESTS=OFF \
    -DQUIVER_BENCH=OFF "-DQUIVER_PLUGINS=$1" >"$work/configure.log" 2>&1
}

has_target() {
  ninja -C "$work/build" -t query "$1" >/dev/null 2>&1
}

# A name that does not exist is refused, and the message lists those that do.
if configure "arch-llama;no-such-plugin"; then fail "an unknown plugin was accepted"; fi
grep -q "no-such-plugin" "$work/configure.log" || fail "the message does not name the plugin"
grep -q "quant-affine" "$work/configure.log" || fail "the message does not list the plugins"
rm -rf "$work/build"

# Two of them: those two and the text library are there, the others are not.
configure "arch-llama;quant-affine" || { cat "$work/configure.log"; fail "configuring two plugins"; }
for target in arch-llama quant-affine quiver quiver_text; do
  has_target "$target" || fail "with arch-llama and quant-affine there is no target $target"
done
for target in kv-affine kv-float kv-turboquant sampler-standard; do
  if has_target "$target"; then fail "$target would be built though it was not chosen"; fi
done
rm -rf "$work/build"

# Detectors alone: no text library, no cargo, no text commands, and a program that detects.
configure "arch-yolo26;quant-affine" || { cat "$work/configure.log"; fail "configuring detectors alone"; }
if has_target quiver_text; then fail "the text library would be built without a text family"; fi
cmake --build "$work/build" --parallel 2 >"$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log"; fail "building detectors alone"; }
[[ "$(ls "$work/build/lib/quiver/plugins" | xargs)" == "arch-yolo26.so quant-affine.so" ]] ||
  fail "plugins built: $(ls "$work/build/lib/quiver/plugins")"

quiver=$work/build/bin/quiver
export HOME=$work XDG_CACHE_HOME=$work/cache XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config
unset QUIVER_PLUGIN_PATH
if ldd "$quiver" | grep -q quiver_text; then fail "the program needs the text library"; fi
"$quiver" plugins list --json >"$work/list.json"
grep -q '"quant-affine"' "$work/list.json" || fail "quant-affine is not listed"
if grep -qE '"(refused|broken|arch-llama)"' "$work/list.json"; then fail "$(cat "$work/list.json")"; fi
if "$quiver" generate x --prompt y 2>"$work/generate.log"; then fail "generate exists"; fi
"$quiver" detect "$shared/models/yolo26-shapes" "$shared"/data/shapes/images/shapes_0001_00.png --json >"$work/detect.json" ||
  fail "detect does not run"
grep -q '"label"' "$work/detect.json" || fail "nothing was detected"
"$quiver" --help | grep -q quantize-tensor || fail "the help does not list quantize-tensor"
echo "passed"
