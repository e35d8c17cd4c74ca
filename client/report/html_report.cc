// The page's sections, in the order of a reader's questions: see html_report.h.
#include "client/report/html_report.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/report/html.h"
#include "client/report/html_passes.h"
#include "client/terminal/format.h"
#include "client/terminal/json.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr char kStyle[] = R"(
:root { color-scheme: light dark; --text: #1d2430; --soft: #667085; --line: #dde1e8; --card: #f6f7f9; --page: #fff;
  --good: #1a8754; --bad: #c9302c; --fair: #c98a1b; --plain: #3565c4; --before: #9aa5b5; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ef; --soft: #98a2b3; --line: #333b49; --card: #1c222c;
  --page: #12161d; --plain: #6c97ee; --good: #4cc38a; --bad: #f2706b; --fair: #e5b454; --before: #5d6878; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto; padding: 24px;
  max-width: 1040px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 20px 0 6px; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 16px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 24px; line-height: 1.2; } .card.good b { color: var(--good); }
.card.bad b { color: var(--bad); }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: left; border-bottom: 1px solid var(--line); font-weight: normal;
  vertical-align: top; overflow-wrap: anywhere; }
tr:first-child th { color: var(--soft); } .number { text-align: right; white-space: nowrap; }
.bar { display: grid; grid-template-columns: minmax(120px, 34%) 1fr 170px; gap: 10px; align-items: center; }
.bar .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; } .bar .label { white-space: nowrap; }
.track { background: var(--card); border-radius: 3px; height: 13px; } .fill { display: block; height: 13px;
  border-radius: 3px; min-width: 1px; background: var(--plain); } .fill.good { background: var(--good); }
.fill.bad { background: var(--bad); } .fill.fair { background: var(--fair); } .fill.before { background: var(--before); }
.plot { display: inline-block; margin: 6px 18px 10px 0; width: 300px; vertical-align: top; }
.plot svg { width: 300px; height: 72px; background: var(--card); border-radius: 3px; display: block; }
.plot .in { fill: var(--plain); } .plot .out { fill: var(--bad); } .plot line { stroke: var(--text); stroke-dasharray: 3 2; }
.plot polyline { fill: none; stroke-width: 2; stroke: var(--plain); } .plot polyline.before { stroke: var(--soft); }
.plot .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.curve svg { width: 632px; max-width: 100%; background: var(--card); border-radius: 3px; display: block; }
.curve line { stroke: var(--text); stroke-dasharray: 4 3; } .curve text { fill: var(--soft); font-size: 12px; }
.curve path { stroke-width: 2; opacity: 0.45; } .curve .plain { fill: var(--plain); stroke: var(--plain); }
.curve .before { fill: var(--before); stroke: var(--before); } .curve .bad { fill: var(--bad); stroke: var(--bad); }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--card); padding: 10px; overflow: auto; border-radius: 6px; font-size: 13px; }
.missed { color: var(--bad); } .held { color: var(--good); }
)";

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::string Card(std::string_view tone, std::string_view value, std::string_view what) {
  return absl::StrCat("<div class=\"card ", std::string(tone), "\"><b>", EscapeHtml(value), "</b>",
                      EscapeHtml(what), "</div>\n");
}

std::string Cards(const Report& report) {
  std::string cards;
  const ModelSummary& before = report.original();
  const ModelSummary& after = report.artifact();
  if (before.file_bytes() > 0 && after.file_bytes() > 0) {
    const double smaller =
        static_cast<double>(before.file_bytes()) / static_cast<double>(after.file_bytes());
    cards += Card(
        smaller > 1 ? "good" : "bad", absl::StrFormat("%.2fx smaller", smaller),
        absl::StrCat(FormatBytes(before.file_bytes()), " to ", FormatBytes(after.file_bytes())));
  }
  const Judgement& judgement = report.judgement();
  const TaskMetrics &a = judgement.original(), &b = judgement.artifact();
  if (b.has_accuracy()) {
    cards += Card(b.accuracy() >= a.accuracy() - 0.01 ? "good" : "bad", FormatPercent(b.accuracy()),
                  absl::StrFormat("accuracy, %+.2f points", (b.accuracy() - a.accuracy()) * 100));
  }
  if (b.has_bits_per_token()) {
    cards +=
        Card("", absl::StrFormat("%.4f", b.bits_per_token()),
             absl::StrFormat("bits per token, %+.4f", b.bits_per_token() - a.bits_per_token()));
  }
  if (judgement.has_agreement()) {
    cards += Card(judgement.agreement() >= 0.98 ? "good" : "", FormatPercent(judgement.agreement()),
                  "same top-1 class");
  } else if (!judgement.outputs().empty()) {
    const auto worst = std::ranges::min_element(
        judgement.outputs(), {}, [](const OutputComparison& output) { return output.sqnr_db(); });
    cards += Card("", FormatNumber(worst->sqnr_db()) + " dB", "SQNR of output " + worst->output());
  }
  const Latency& latency = judgement.latency();
  if (latency.runs() > 0 && latency.artifact_median_seconds() > 0) {
    const double faster = latency.original_median_seconds() / latency.artifact_median_seconds();
    cards +=
        Card(faster >= 1 ? "good" : "bad",
             faster >= 1 ? absl::StrFormat("%.2fx faster", faster)
                         : absl::StrFormat("%.2fx slower", 1 / faster),
             absl::StrFormat("median of %d runs, %d threads", latency.runs(), latency.threads()));
  }
  return absl::StrCat("<div class=\"cards\">\n", cards, "</div>\n");
}

std::string Bounds(const Report& report) {
  std::string html;
  for (const BoundResult& bound : report.bounds()) {
    absl::StrAppend(
        &html, "<div class=\"", bound.passed() ? "held\">held: " : "missed\">MISSED: ",
        EscapeHtml(bound.explanation().empty() ? bound.bound().metric() : bound.explanation()),
        "</div>\n");
  }
  return html;
}

std::string Sizes(const Report& report) {
  const ModelSummary &before = report.original(), &after = report.artifact();
  std::vector<Bar> bars;
  const double most =
      static_cast<double>(std::max({before.file_bytes(), after.file_bytes(), before.weight_bytes(),
                                    after.weight_bytes(), uint64_t{1}}));
  auto add = [&](const char* name, uint64_t a, uint64_t b) {
    if (a == 0 && b == 0) return;
    bars.push_back({absl::StrCat(name, ", original"), Share(static_cast<double>(a), most),
                    FormatBytes(a), "before", ""});
    bars.push_back({absl::StrCat(name, ", artifact"), Share(static_cast<double>(b), most),
                    FormatBytes(b), "plain", ""});
  };
  add("file", before.file_bytes(), after.file_bytes());
  add("file, zstd", before.zstd_bytes(), after.zstd_bytes());
  add("weights", before.weight_bytes(), after.weight_bytes());
  if (bars.empty()) return "";
  return absl::StrCat(
      "<h2>Size</h2>\n", HtmlBars(bars),
      HtmlTable({{"", "original", "artifact"},
                 {"parameters", FormatCount(before.parameters()), FormatCount(after.parameters())},
                 {"non-zero", FormatCount(before.nonzero_parameters()),
                  FormatCount(after.nonzero_parameters())},
                 {"nodes", FormatCount(before.nodes()), FormatCount(after.nodes())},
                 {"opset", FormatCount(before.opset()), FormatCount(after.opset())}}));
}

std::string Quality(const Report& report) {
  const Judgement& judgement = report.judgement();
  std::string html = "<h2>Quality</h2>\n<p class=\"soft\">";
  switch (judgement.data_source()) {
    case Judgement::DATA_SOURCE_CALLER:
      absl::StrAppend(&html, FormatCount(judgement.samples()), " samples, ",
                      EscapeHtml(judgement.split()));
      break;
    case Judgement::DATA_SOURCE_SYNTHETIC:
      absl::StrAppend(&html, FormatCount(judgement.samples()),
                      " synthetic samples: random numbers say that the models "
                      "compute alike, not that the artifact is good");
      break;
    default:
      absl::StrAppend(&html, judgement.data_source() == Judgement::DATA_SOURCE_NONE &&
                                     report.recipe().judging().gate() != Judging::GATE_STRUCTURE
                                 ? "not measured: see the notes"
                                 : "not measured: nothing was run");
      break;
  }
  absl::StrAppend(&html, judgement.task().empty() ? "" : ". ", EscapeHtml(judgement.task()),
                  "</p>\n");
  std::vector<std::vector<std::string>> metrics = {{"metric", "original", "artifact", "change"}};
  const TaskMetrics &a = judgement.original(), &b = judgement.artifact();
  auto points = [&](const char* name, double x, double y) {
    metrics.push_back(
        {name, FormatPercent(x), FormatPercent(y), absl::StrFormat("%+.2f points", (y - x) * 100)});
  };
  if (b.has_accuracy()) points("accuracy", a.accuracy(), b.accuracy());
  if (b.has_f1_macro()) points("F1, macro", a.f1_macro(), b.f1_macro());
  if (b.has_f1_binary()) points("F1, class 1", a.f1_binary(), b.f1_binary());
  if (b.has_bits_per_token()) {
    metrics.push_back({"bits per token", absl::StrFormat("%.4f", a.bits_per_token()),
                       absl::StrFormat("%.4f", b.bits_per_token()),
                       absl::StrFormat("%+.4f", b.bits_per_token() - a.bits_per_token())});
  }
  if (metrics.size() > 1) html += HtmlTable(metrics);
  std::vector<std::vector<std::string>> outputs = {
      {"output", "SQNR dB", "cosine", "largest error", "worst sample", "not finite"}};
  for (const OutputComparison& row : judgement.outputs()) {
    outputs.push_back(
        {EscapeHtml(row.output()), FormatNumber(row.sqnr_db()),
         absl::StrFormat("%.6f", row.cosine()), FormatNumber(row.max_abs_error()),
         absl::StrFormat("%s dB at #%d", FormatNumber(row.worst_sqnr_db()), row.worst_sample()),
         row.not_finite() == 0 ? "" : FormatCount(row.not_finite())});
  }
  if (outputs.size() > 1) html += HtmlTable(outputs);
  return html;
}

std::string LatencyBars(const Report& report) {
  const Latency& latency = report.judgement().latency();
  if (latency.runs() == 0) return "";
  const double a = latency.original_median_seconds(), b = latency.artifact_median_seconds();
  const double most = std::max(a, b);
  const Judgement& judgement = report.judgement();
  std::string memory;
  if (judgement.original_memory_bytes() > 0 && judgement.artifact_memory_bytes() > 0) {
    memory = absl::StrCat(
        "<p>Memory of the loaded model: ", FormatBytes(judgement.original_memory_bytes()),
        " before, ", FormatBytes(judgement.artifact_memory_bytes()), " after.</p>\n");
  }
  return absl::StrCat("<h2>Latency and memory</h2>\n",
                      HtmlBars({{"original", Share(a, most),
                                 absl::StrCat(FormatSeconds(a), " +- ",
                                              FormatSeconds(latency.original_spread_seconds())),
                                 "before", ""},
                                {"artifact", Share(b, most),
                                 absl::StrCat(FormatSeconds(b), " +- ",
                                              FormatSeconds(latency.artifact_spread_seconds())),
                                 b <= a ? "good" : "bad", ""}}),
                      memory);
}

std::string Times(const Report& report) {
  double total = 0;
  for (const PhaseTime& phase : report.phases()) total += phase.seconds();
  std::vector<Bar> bars;
  for (const PhaseTime& phase : report.phases()) {
    bars.push_back(
        {phase.name(), Share(phase.seconds(), total), FormatSeconds(phase.seconds()), "plain", ""});
  }
  if (bars.empty()) return "";
  std::string html = absl::StrCat("<h2>Time, ", FormatSeconds(total), "</h2>\n", HtmlBars(bars));
  if (report.peak_anonymous_bytes() > 0) {
    absl::StrAppend(&html, "<p>Memory: ", FormatBytes(report.peak_anonymous_bytes()),
                    " at the most, ", FormatBytes(report.planned_memory_bytes()), " planned</p>\n");
  }
  return html;
}

// Text with line ends, which EscapeHtml takes for the control characters that they are.
std::string Lines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (std::string& line : lines) line = EscapeHtml(line);
  return absl::StrJoin(lines, "\n");
}

}  // namespace

std::string RenderHtmlReport(const Report& report) {
  std::string notes;
  for (const std::string& note : report.notes())
    absl::StrAppend(&notes, "<li>", EscapeHtml(note), "</li>\n");
  if (!notes.empty()) notes = absl::StrCat("<ul>\n", notes, "</ul>\n");
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" "
      "content=\"width=device-width\">\n<title>modelpress report</title>\n<style>",
      kStyle,
      "</style>\n</head>\n<body>\n<h1>What modelpress did</h1>\n<div class=\"soft\">modelpress ",
      EscapeHtml(report.version()), ", ONNX Runtime ", EscapeHtml(report.runtime_version()),
      "; original SHA-256 ", EscapeHtml(report.original().sha256()), ", artifact ",
      EscapeHtml(report.artifact().sha256()), "</div>\n", Cards(report), Bounds(report), notes,
      Sizes(report), Quality(report), LatencyBars(report), HtmlPasses(report), Times(report),
      "<h2>Recipe</h2>\n",
      HtmlDetails("as it was run",
                  absl::StrCat("<pre>", Lines(ToJson(report.recipe())), "</pre>\n")),
      "</body>\n</html>\n");
}

}  // namespace modelpress
