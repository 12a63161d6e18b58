# The stages of run-tests: each builds and runs one thing, and counts what passed and failed.
#
# Sourced by run-tests, which sets jobs, filter and quiver_shared. A stage does not end the run when
# something fails: everything is tried, and the sum decides.

passed=0
failed=0
skipped=0
failures=()
ctest_prefix=()
# All builds share what cargo builds: it is the same for each of them.
cargo_options=(-DQUIVER_CARGO="$(command -v cargo)" -DQUIVER_CARGO_TARGET_DIR="$PWD/build/cargo")

heading() {
  printf '\n=== %s (%d:%02d)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

# count NAME COMMAND..: runs a command as one test, with its output in a log.
count() {
  local name=$1
  shift
  if quiver_quietly "build/logs/${name//[^a-zA-Z0-9._-]/_}.log" "$@"; then
    passed=$((passed + 1))
    printf 'passed: %s\n' "$name"
  else
    failed=$((failed + 1))
    failures+=("$name")
    printf 'FAILED: %s\n' "$name"
  fi
}

# build_preset PRESET CMAKE-OPTION..: configures and builds build/PRESET. On failure, which counts as
# one failed test, the end of the log is shown.
build_preset() {
  local preset=$1 target=()
  shift
  if [[ -n "${only_targets:-}" ]]; then
    # shellcheck disable=SC2206
    target=(--target $only_targets)
  fi
  local options=(-DQUIVER_SHARED="$quiver_shared" "${cargo_options[@]}" "$@")
  if [[ "${CI:-}" == true ]]; then options+=(-DQUIVER_WERROR=ON); fi
  if quiver_quietly "build/logs/$preset-configure.log" cmake --preset "$preset" "${options[@]}" &&
    quiver_quietly "build/logs/$preset-build.log" \
      cmake --build "build/$preset" --parallel "$jobs" "${target[@]}"; then
    printf 'built build/%s\n' "$preset"
  else
    failed=$((failed + 1))
    failures+=("the build of build/$preset")
    return 1
  fi
}

# A number from the head of ctest's JUnit file; its one test suite comes first.
junit_count() {
  sed -n "s/.*\b$2=\"\([0-9]*\)\".*/\1/p" "$1" 2>/dev/null | head -n 1 || true
}

# run_suite FOLDER CTEST-OPTION..: runs the tests of a build folder and adds up their results.
run_suite() {
  local folder=$1 report status=0 tests bad left_out name
  shift
  report=$PWD/build/logs/${folder##*/}-${stage}.xml
  rm -f "$report"
  local options=(-j "$jobs" --timeout 300 --output-on-failure --output-junit "$report")
  # A filter need not match something in every suite; the sum shows that it matched something.
  if [[ -n "$filter" ]]; then options+=(-R "$filter" --no-tests=ignore); else options+=(--no-tests=error); fi
  (cd "$folder" && "${ctest_prefix[@]}" ctest "${options[@]}" "$@" </dev/null) || status=$?
  tests=$(junit_count "$report" tests)
  bad=$(junit_count "$report" failures)
  left_out=$(($(junit_count "$report" disabled) + $(junit_count "$report" skipped) + 0))
  if [[ -n "$filter" && $status == 0 && -z "$tests" ]]; then return 0; fi
  if [[ -z "$tests" || -z "$bad" ]] || ((status != 0 && bad == 0)); then
    failed=$((failed + 1))
    failures+=("ctest in $folder (exit code $status)")
    return 0
  fi
  passed=$((passed + tests - bad - left_out))
  failed=$((failed + bad))
  skipped=$((skipped + left_out))
  while read -r name; do
    failures+=("$folder: $name")
  done < <(sed -n 's/.*<testcase name="\([^"]*\)".* status="fail".*/\1/p' "$report")
}

stage_release() {
  build_preset release || return 0
  run_suite build/release -LE '^(slow|test_smollm2)$'
}

# Other programs' Python packages, in an environment that is made once.
python_environment() {
  local folder=$1 requirements=$2
  if [[ -f "$folder/complete" && "$folder/complete" -nt "$requirements" ]]; then return 0; fi
  rm -rf "$folder"
  quiver_quietly build/logs/interchange-venv.log python3 -m venv "$folder" &&
    quiver_quietly build/logs/interchange-pip.log "$folder/bin/pip" install -q -r "$requirements" &&
    touch "$folder/complete"
}

# Folders that Quiver and stock mlx-lm write for each other.
stage_interchange() {
  build_preset release || return 0
  if ! python_environment build/python-mlx bench/peers/requirements-mlx.txt; then
    failed=$((failed + 1))
    failures+=("the Python packages of bench/peers/requirements-mlx.txt")
    return 0
  fi
  count interchange build/python-mlx/bin/python tests/interchange/test_mlx.py \
    build/release/bin/quiver "$quiver_shared"
}

stage_slow() {
  build_preset release || return 0
  run_suite build/release -L '^slow$'
}

stage_asan() {
  build_preset asan -DQUIVER_BENCH=OFF || return 0
  UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 \
    run_suite build/asan -LE '^(slow|test_smollm2)$'
}

# Only what runs in several threads; a slower build of everything else would find nothing.
stage_tsan() {
  only_targets="test_engine test_plugin test_dhara" build_preset tsan -DQUIVER_BENCH=OFF \
    "-DQUIVER_TEST_ROOMS=dhara;engine;plugin" || return 0
  # GCC 12's runtime does not know the widest address space randomization of newer kernels.
  if setarch -R true 2>/dev/null; then ctest_prefix=(setarch -R); fi
  TSAN_OPTIONS=halt_on_error=1 run_suite build/tsan -LE '^slow$' \
    -E '^((all|prompts)/)?(Dhara|SelfSpeculation|BlockDiffusion|DraftLength)'
  ctest_prefix=()
}

# Each fuzz target for a short time, from its kept corpus, in a folder that is thrown away.
stage_fuzz() {
  local target name work seconds=${QUIVER_FUZZ_SECONDS:-20}
  local configure=(cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
    -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DQUIVER_FUZZ=ON -DQUIVER_BENCH=OFF
    -DQUIVER_TEST_ROOMS=fuzz -DQUIVER_SHARED="$quiver_shared" "${cargo_options[@]}")
  local targets=()
  for name in tests/fuzz/fuzz_*.cpp; do targets+=("$(basename "$name" .cpp)"); done
  if ! quiver_quietly build/logs/fuzz-configure.log "${configure[@]}" ||
    ! quiver_quietly build/logs/fuzz-build.log \
      cmake --build build/fuzz --parallel "$jobs" --target "${targets[@]}"; then
    failed=$((failed + 1))
    failures+=("the build of build/fuzz")
    return 0
  fi
  for name in "${targets[@]}"; do
    target=$(find build/fuzz -name "$name" -type f -executable | head -n 1)
    work=$(mktemp -d)
    count "$name" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
      -artifact_prefix=build/logs/ "$work" "tests/fuzz/corpus/${name#fuzz_}"
    rm -rf "$work"
  done
}

stage_tidy() {
  build_preset release || return 0
  count clang-tidy .ci/check-tidy build/release "$jobs"
}

# The kernels of a processor that this machine only emulates; one that has it tests them in release.
stage_cross() {
  if [[ "$(uname -m)" == aarch64 ]]; then
    printf 'skipped: cross: the other stages run on this processor\n'
    skipped=$((skipped + 1))
    return 0
  fi
  local options=(-G Ninja --toolchain "$PWD/cmake/aarch64.cmake")
  if [[ "${CI:-}" == true ]]; then options+=(-DQUIVER_WERROR=ON); fi
  if ! quiver_quietly build/logs/aarch64-configure.log \
    cmake -S tests/cross -B build/aarch64 "${options[@]}" ||
    ! quiver_quietly build/logs/aarch64-build.log cmake --build build/aarch64 --parallel "$jobs"; then
    failed=$((failed + 1))
    failures+=("the build of build/aarch64")
    return 0
  fi
  printf 'built build/aarch64\n'
  run_suite build/aarch64
}

stage_checks() {
  count clang-format .ci/check-format
  count kernel-symbols .ci/check-kernels build/release
  count layers .ci/check-layers
}

# The quickstart as a newcomer runs it, and again without a network. Its exit code 69 says that the
# model's package cannot be fetched here, which is not the program's fault.
stage_quickstart() {
  local status=0
  ./quickstart --no-install --fetch-only >build/logs/quickstart-fetch.log 2>&1 </dev/null || status=$?
  if [[ $status == 69 ]]; then
    printf 'skipped: quickstart: %s\n' "$(tail -n 1 build/logs/quickstart-fetch.log)"
    skipped=$((skipped + 1))
    return 0
  fi
  count quickstart ./quickstart --no-install
  count quickstart-offline ./quickstart --no-install --offline
  count quickstart-answer grep -q 'Paris' build/logs/quickstart-offline.log
  # The same model against what the reference implementation recorded of it.
  build_preset release || return 0
  QUIVER_SMOLLM2_GGUF=${XDG_CACHE_HOME:-$HOME/.cache}/quiver/quickstart/SmolLM2-135M-Instruct.Q4_1.gguf \
    run_suite build/release -L '^test_smollm2$'
}
