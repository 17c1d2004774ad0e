#!/bin/sh
# Scores a folder every night, from cron:   15 2 * * *  nightly.sh /line/today /results
# Results go to OUT/<date>; DATE=2026-01-31 names another night. Other settings come from the environment, such as
# ADCLI_MODEL=/models/lid.h5.
set -u
if [ $# -ne 2 ]; then
    echo "usage: nightly.sh IMAGES OUT" >&2
    exit 2
fi
out=$2/${DATE:-$(date +%F)}

# With --resume a night that was cut short (power, kill, full disk) is continued by the next call, and a finished one is
# left alone: the same command is right every time.
adcli score "$1" --out "$out" --fail-on ng --resume --quiet
code=$?

images() { # of a verdict, one path a line
    sed -n 's/^{"image": "\(.*\)", "verdict": "'"$1"'".*/\1/p' "$out/results.jsonl"
}

case $code in
    0) echo "$out: nothing is NG" ;;
    3 | 5) # 5 outranks 3: some images were unreadable, and others may be NG
        echo "$out: $(images NG | wc -l) NG, $(images ERROR | wc -l) unreadable"
        images NG | sed 's/^/  NG     /'
        images ERROR | sed 's/^/  ERROR  /'
        ;;
    8) echo "$out: the machine lacks something; adcli doctor tells what. The next call goes on from here." >&2 ;;
    9) echo "$out: another run is still at it" >&2 ;;
    130 | 137 | 143) echo "$out: stopped; the next call goes on from here" >&2 ;;
    *) echo "$out: adcli ended with $code" >&2 ;; # 1, 2, 7: see the sentence above
esac
exit $code
