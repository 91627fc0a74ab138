# Recomputes the learning curves of the golden sweep with awk alone:
#   awk -f tests/golden/check_curves.awk tests/golden/digits/records.sql tests/golden/digits/table.csv
# Compare the output with figure-curves.csv.
/^INSERT INTO/ { table = $3 }
FILENAME ~ /table.csv$/ { table = "" }
table == "tags" && /'nal.digest'/ { split($0, part, "'"); id[part[4]] = part[6] }
table == "metrics" && /^\(/ {
    split($0, part, "'"); value = part[3]; sub(/^, /, "", value); sub(/,.*/, "", value)
    step = part[5]; sub(/^, /, "", step); sub(/,.*/, "", step); accuracy[part[4], step] = 100 * value
}
FILENAME ~ /table.csv$/ && /,last epoch,/ && /,measured,run,/ {
    n = split($0, part, ","); run = part[n]; sub(/\r/, "", run)
    match($0, /,last epoch,[^,]*,/); row = substr($0, RSTART + 12, RLENGTH - 13)
    row = row ($0 ~ /,fixed/ || $0 ~ /,"fixed/ ? " fixed" : " tuned")
    for (epoch = 1; epoch <= 3; epoch++) {
        x = accuracy[id[run], epoch]; sum[row, epoch] += x; squares[row, epoch] += x * x
    }
    rows[row] = 1
}
END {
    for (row in rows) for (epoch = 1; epoch <= 3; epoch++) {
        m = sum[row, epoch] / 3
        printf "%s, epoch %d: mean %.10f, sd %.10f\n", row, epoch, m, sqrt((squares[row, epoch] - 3 * m * m) / 2)
    }
}
