# Recomputes the golden figures with R alone, and prints the largest difference from figure-*.csv:
#   Rscript tests/golden/check_figures.R
# The raw data are diagnostics.npz, a ZIP file of NumPy arrays, plan.json and records.sql.
root <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
root <- dirname(normalizePath(root))

read_array <- function(npz, name) {
  file <- unz(npz, paste0(name, ".npy"), "rb")
  on.exit(close(file))
  readBin(file, "raw", 8)
  header <- rawToChar(readBin(file, "raw", readBin(file, "integer", 1, 2, FALSE)))
  type <- sub(".*'descr': '.([a-z][0-9]).*", "\\1", header)
  shape <- as.integer(strsplit(sub(".*\\(([^)]*)\\).*", "\\1", header), ", *")[[1]])
  values <- readBin(
    file, if (startsWith(type, "f")) "numeric" else "integer", prod(shape),
    as.integer(substr(type, 2, 2)), type != "u1"
  )
  if (length(shape) == 2) matrix(values, shape[1], byrow = TRUE) else values
}
figure <- function(study, key) {
  read.csv(file.path(root, study, paste0("figure-", key, ".csv")), check.names = FALSE)
}
# The cells of plan.json: method, origin and digests of each.
npz_files <- function(study, method, origin) {
  plan <- paste(readLines(file.path(root, study, "plan.json"), warn = FALSE), collapse = "")
  cells <- strsplit(plan, "\"method\": ?")[[1]]
  cell <- grep(paste0("^\"", method, "\".*\"origin\": ?\"", origin, "\""), cells, value = TRUE)[1]
  digests <- regmatches(cell, gregexpr("[0-9a-f]{64}", cell))[[1]]
  files <- file.path(root, study, "diagnostics", paste0(digests, ".npz"))
  files[file.exists(files)]
}
table_rows <- function(study, table) {
  lines <- readLines(file.path(root, study, "records.sql"))
  starts <- grepl("^INSERT INTO", lines)
  section <- sub("INSERT INTO ([a-z_]+).*", "\\1", lines[starts])[cumsum(starts)]
  gsub("^\\(|\\)[,;]$", "", lines[section == table & !starts])
}
report <- function(text, measured, expected) {
  stopifnot(length(measured) == length(expected), is.na(measured) == is.na(expected))
  cat(sprintf("%-48s %3d numbers, largest difference %.1e\n", text, length(measured),
              max(abs(measured - expected), na.rm = TRUE)))
}
report_line <- function(text, line, values) {
  report(paste(text, "mean"), line$mean, rowMeans(values))
  report(paste(text, "sd"), line$std, apply(values, 1, sd))
}

fig1 <- figure("digits", "1")
fig3 <- figure("digits", "3")
for (each in list(c("ce", "fixed", "Cross Entropy"), c("nal", "tuned", "NAL"))) {
  files <- npz_files("digits", each[1], each[2])
  read <- function(name) lapply(files, read_array, name)
  true <- read("true"); given <- read("given"); predicted <- read("predicted")
  share <- function(is_hit) {
    sapply(seq_along(files), function(i) {
      sapply(1:3, function(e) 100 * is_hit(predicted[[i]][e, ], true[[i]], given[[i]]))
    })
  }
  lines <- list(
    "clean samples/true class" = function(p, t, g) mean((p == t)[t == g]),
    "clean samples/another class" = function(p, t, g) mean((p != t)[t == g]),
    "mislabelled samples/true class" = function(p, t, g) mean((p == t)[t != g]),
    "mislabelled samples/memorised" = function(p, t, g) mean((p == g)[t != g]),
    "mislabelled samples/another class" = function(p, t, g) mean((p != t & p != g)[t != g])
  )
  for (name in names(lines)) {
    part <- strsplit(name, "/")[[1]]
    line <- fig1[fig1$panel == paste0(each[3], ", ", part[1]) & fig1$line == part[2], ]
    report_line(paste("1", each[1], name), line, share(lines[[name]]))
  }
  rate <- mapply(function(t, g) mean(t != g), true, given)
  clean <- sapply(read("series/gradient/clean"), identity) %*% diag(1 - rate)
  wrong <- sapply(read("series/gradient/mislabelled"), identity) %*% diag(rate)
  of <- function(panel, line) fig3[fig3$panel == panel & fig3$line == line, ]
  report_line(paste("3", each[1], "clean"), of(each[3], "clean samples"), clean)
  report_line(paste("3", each[1], "mislabelled"), of(each[3], "mislabelled samples"), wrong)
  report_line(
    paste("3", each[1], "share"), of("mislabelled samples", each[3]), 100 * wrong / (clean + wrong)
  )
}

fig2 <- figure("digits", "2")
files <- npz_files("digits", "nal", "tuned")
logits <- lapply(files, read_array, "last_attention")
wrong <- lapply(files, function(f) read_array(f, "given") != read_array(f, "true"))
# The statistic of Wilcoxon's test counts the pairs in which a wrong label has the lower τ.
auroc <- mapply(function(x, w) {
  suppressWarnings(wilcox.test(-x[w], -x[!w])$statistic) / (sum(w) * sum(!w))
}, logits, wrong)
report("2 AUROC mean and sd", unlist(fig2[1, c("auroc_mean", "auroc_std")]), c(mean(auroc), sd(auroc)))
for (group in c("clean", "mislabelled")) {
  counts <- mapply(function(x, w) {
    x <- pmin(pmax(-log1p(exp(x)) / log(10), -8 + 1e-9), -1e-9)[w == (group == "mislabelled")]
    100 * hist(x, seq(-8, 0, 0.2), plot = FALSE)$counts / length(w)
  }, logits, wrong)
  report(paste("2 histogram", group), fig2$share_percent[fig2$samples == group], rowMeans(counts))
}

for (study in c("digits", "response")) {
  fig4 <- figure(study, "4")
  files <- npz_files(study, "nal", "tuned")
  pooled <- function(name) factor(unlist(lapply(files, read_array, name)), 0:9)
  true <- pooled("true"); given <- pooled("given"); target <- pooled("target")
  tau <- plogis(unlist(lapply(files, read_array, "last_attention")))
  values <- function(panel) fig4$value[fig4$panel == panel]
  by_row <- function(m) as.vector(t(m))
  report(paste("4", study, "τ"), values("mean attention weight τ"),
         by_row(tapply(tau, list(true, given), mean)))
  report(paste("4", study, "noisy"), values("noisy labels"),
         by_row(prop.table(table(true, given), 1)))
  report(paste("4", study, "corrected"), values("corrected labels"),
         by_row(prop.table(table(true, target), 1)))
}

field <- function(rows, n) gsub("'", "", sapply(strsplit(rows, ", "), `[`, n))
params <- table_rows("methods", "params")
param <- function(key) {
  rows <- params[startsWith(params, sprintf("'%s', ", key))]
  setNames(field(rows, 2), field(rows, 3))
}
metrics <- table_rows("methods", "latest_metrics")
metrics <- metrics[startsWith(metrics, "'test/accuracy_last', ")]
runs <- field(metrics, 6)
accuracy <- 100 * as.numeric(field(metrics, 2))
method <- param("method")[runs]; scenario <- param("scenario")[runs]
fixed <- method != "nal"
means <- tapply(accuracy[fixed], list(scenario[fixed], method[fixed]), mean)
average <- colMeans(t(apply(-means, 1, rank)))
ranks <- figure("methods", "ranks")
report("ranks average", setNames(ranks[[2]], ranks$method)[c("Cross Entropy", "GCE", "SCE")], average)
difference <- qtukey(0.95, 3, Inf) / sqrt(2) * sqrt(3 * 4 / (6 * 3))
report("ranks critical difference", ranks[["critical difference"]], rep(difference, 3))
cat(sprintf("ranks: p-value of Friedman's test %.6f\n", friedman.test(means)$p.value))

lambda <- as.numeric(param("lambda")[runs]); alpha <- as.numeric(param("alpha")[runs])
sensitivity <- figure("methods", "sensitivity")
x <- ifelse(sensitivity$hyperparameter == "lambda", sensitivity$value, 0.5)
y <- ifelse(sensitivity$hyperparameter == "alpha", sensitivity$value, 0.9)
here <- scenario == "symmetric-0.4"
groups <- lapply(seq_along(x), function(i) {
  if (sensitivity$method[i] == "NAL") accuracy[here & method == "nal" & lambda == x[i] & alpha == y[i]]
  else accuracy[here & method == "ce"]
})
report("sensitivity mean", sensitivity$mean, sapply(groups, mean))
report("sensitivity sd", sensitivity$std, sapply(groups, sd))

# The Gaussian process of the response, with the bounds of reports/figures/response.py.
response <- figure("response", "response")
trial <- response[grepl("trial", response$kind), ]
grid <- response[response$kind == "grid", ]
unit <- function(rows) cbind(log(rows$lambda / 0.05) / log(20 / 0.05), (rows$alpha - 0.5) / 0.49)
points <- unit(trial)
centre <- mean(trial$accuracy)
scale <- sqrt(mean((trial$accuracy - centre)^2))
values <- (trial$accuracy - centre) / scale
matern <- function(a, b, lengths) {
  d <- sqrt(5 * (outer(a[, 1] / lengths[1], b[, 1] / lengths[1], "-")^2 +
                 outer(a[, 2] / lengths[2], b[, 2] / lengths[2], "-")^2))
  (1 + d + d^2 / 3) * exp(-d)
}
# The standard error of an accuracy of one half on 431 held-out labels.
noise <- (50 / sqrt(431) / scale)^2
loss <- function(theta) {
  v <- exp(theta)
  root <- chol(v[1] * matern(points, points, v[2:3]) + diag(v[4], nrow(points)))
  sum(backsolve(root, values, transpose = TRUE)^2) / 2 + sum(log(diag(root)))
}
signal <- max(noise, 0.05)
low <- log(c(signal, 0.1, 0.1, noise))
high <- log(c(20 * max(1, signal), 2, 2, 10 * max(noise, 0.1)))
set.seed(0)
fits <- lapply(1:20, function(i) {
  optim(runif(4, low, high), loss, method = "L-BFGS-B", lower = low, upper = high,
        control = list(factr = 10, maxit = 1000))
})
best <- exp(fits[[which.min(sapply(fits, `[[`, "value"))]]$par)
cross <- best[1] * matern(unit(grid), points, best[2:3])
inverse <- solve(best[1] * matern(points, points, best[2:3]) + diag(best[4], nrow(points)))
report("response mean", grid$mean, centre + scale * as.vector(cross %*% inverse %*% values))
report("response sd", grid$std, scale * sqrt(best[1] - rowSums((cross %*% inverse) * cross)))
