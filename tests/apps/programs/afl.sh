# A few seconds of fuzzing, from one input. It runs where no kernel setting can be changed, hence the variables.
set -eu
export AFL_QUIET=1
afl-cc -o fuzzed fuzzed.c 2>afl-cc.err
mkdir inputs
printf sear >inputs/one
export AFL_NO_UI=1 AFL_NO_AFFINITY=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
exec afl-fuzz -i inputs -o found -V 10 -t 5000 -- ./fuzzed >afl.out 2>&1
