# Processes that a script has started, each known by a file `run` in its folder: pid, when it began, port.
# shellcheck shell=bash

# When a process began, in clock ticks since boot: with its pid, a name that is never given twice.
began() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field is a name in parentheses, which may hold blanks; the 22nd is the 20th after it.
    read -r -a stat <<<"${stat##*) }"
    [ "${stat[0]}" != Z ] && printf '%s' "${stat[19]}"
}

# Notes that process $2, which serves port $3, is the one of folder $1.
record() { echo "$2 $(began "$2") $3" >"$1/run"; }

# Sets pid and port to those of the process of folder $1, if it runs.
running() {
    local start now
    read -r pid start port 2>/dev/null <"$1/run" || return 1
    now=$(began "$pid") && [ "$now" = "$start" ]
}

# Ends the process of folder $1 by signal $2, and waits; after STOP_SECONDS_MAX it is killed.
end() {
    local pid port deadline=$((SECONDS + STOP_SECONDS_MAX))
    running "$1" || return 0
    kill "-$2" "$pid" 2>/dev/null || true
    while running "$1"; do
        if [ $SECONDS -ge $deadline ]; then
            say "${1##*/} has not ended after $STOP_SECONDS_MAX s: it is killed"
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + STOP_SECONDS_MAX))
        fi
        sleep 0.05
    done
}
