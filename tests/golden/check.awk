# Recomputes means, standard deviations and paired t-tests of the golden sweep with awk alone:
#   awk -f tests/golden/check.awk tests/golden/digits/records.sql tests/golden/digits/table.csv
# With 3 seeds the t distribution has 2 degrees of freedom, where P(|T| > t) = 1 - t / sqrt(2 + t^2).
/^INSERT INTO/ { table = $3 }
FILENAME ~ /table.csv$/ { table = "" }
table == "tags" && /'nal.digest'/ { split($0, part, "'"); digest[part[6]] = part[4] }
table == "latest_metrics" && /'test\/accuracy_last'/ {
    split($0, part, "'"); value = part[3]; sub(/^, /, "", value); sub(/,.*/, "", value)
    accuracy[part[4]] = 100 * value
}
FILENAME ~ /table.csv$/ && /,last epoch,/ && /,measured,run,/ {
    n = split($0, part, ","); run = part[n]; sub(/\r/, "", run)
    match($0, /,last epoch,[^,]*,/); method = substr($0, RSTART + 12, RLENGTH - 13)
    origin = ($0 ~ /,fixed/ || $0 ~ /,"fixed/) ? "fixed" : "tuned"
    row = method " " origin; seed = $0; sub(/.*measured,run,/, "", seed); sub(/,.*/, "", seed)
    for (id in digest) if (digest[id] == run && id in accuracy) x[row, seed] = accuracy[id]
    rows[row] = 1
}
END {
    for (row in rows) {
        m = (x[row, 0] + x[row, 1] + x[row, 2]) / 3; s = 0
        for (i = 0; i < 3; i++) s += (x[row, i] - m) ^ 2
        printf "%s: mean %.10f, sd %.10f\n", row, m, sqrt(s / 2)
        if (row == "ce fixed") continue
        for (i = 0; i < 3; i++) d[i] = x["ce fixed", i] - x[row, i]
        m = (d[0] + d[1] + d[2]) / 3; s = 0
        for (i = 0; i < 3; i++) s += (d[i] - m) ^ 2
        t = m / sqrt(s / 2 / 3); t = t < 0 ? -t : t
        printf "  less than ce by %.10f, t = %.6f, p = %.10f\n", m, t, 1 - t / sqrt(2 + t * t)
    }
}
