// The report's sections in the order of a reader's questions: smaller? still good? what was done? how long did it take?
#include "client/terminal/report_view.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/terminal/format.h"
#include "client/terminal/training_view.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// More rows than this say less, not more; the JSON report has them all.
constexpr size_t kMaxOutputs = 8;
constexpr size_t kMaxNames = 4;
constexpr size_t kMaxSteps = 80;

std::string Ratio(uint64_t before, uint64_t after) {
  if (before == 0 || after == 0) return "";
  const double share = static_cast<double>(after) / static_cast<double>(before);
  return share <= 1 ? absl::StrFormat("%.1f %% (%.2fx smaller)", share * 100, 1 / share)
                    : absl::StrFormat("%.1f %% (larger)", share * 100);
}

std::string SizeSection(const Report& report) {
  const ModelSummary& before = report.original();
  const ModelSummary& after = report.artifact();
  if (after.file_bytes() == 0) return "";
  TextTable table;
  table.AddRow({"", "original", "artifact", ""});
  auto bytes = [&](const char* name, uint64_t a, uint64_t b) {
    if (a != 0 || b != 0) table.AddRow({name, FormatBytes(a), FormatBytes(b), Ratio(a, b)});
  };
  auto count = [&](const char* name, uint64_t a, uint64_t b) {
    if (a != 0 || b != 0) table.AddRow({name, FormatCount(a), FormatCount(b), ""});
  };
  bytes("file", before.file_bytes(), after.file_bytes());
  bytes("file, zstd", before.zstd_bytes(), after.zstd_bytes());
  bytes("weights", before.weight_bytes(), after.weight_bytes());
  count("parameters", before.parameters(), after.parameters());
  count("non-zero", before.nonzero_parameters(), after.nonzero_parameters());
  count("nodes", before.nodes(), after.nodes());
  count("opset", before.opset(), after.opset());
  return absl::StrCat("Size\n", table.ToString());
}

std::string OutputRows(const Judgement& judgement) {
  std::vector<const OutputComparison*> rows;
  for (const auto& output : judgement.outputs()) rows.push_back(&output);
  if (rows.empty()) return "";
  // Worst first; not-a-number is the worst of all.
  std::stable_sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) {
    if (std::isnan(a->sqnr_db()) != std::isnan(b->sqnr_db())) return std::isnan(a->sqnr_db());
    return a->sqnr_db() < b->sqnr_db();
  });
  TextTable table;
  table.AddRow({"output", "SQNR dB", "cosine", "max error", "worst sample"});
  for (size_t i = 0; i < std::min(rows.size(), kMaxOutputs); ++i) {
    const OutputComparison& row = *rows[i];
    std::string name = Printable(row.output());
    if (row.not_finite() > 0) absl::StrAppend(&name, " (", row.not_finite(), " values NOT FINITE)");
    table.AddRow({name, FormatNumber(row.sqnr_db()), absl::StrFormat("%.6f", row.cosine()),
                  FormatNumber(row.max_abs_error()),
                  absl::StrCat(FormatNumber(row.worst_sqnr_db()), " dB at #", row.worst_sample())});
  }
  std::string text = table.ToString();
  if (rows.size() > kMaxOutputs) {
    absl::StrAppend(&text, "  and ", rows.size() - kMaxOutputs, " better outputs\n");
  }
  return text;
}

std::string QualitySection(const Report& report) {
  const Judgement& judgement = report.judgement();
  std::string text = "Quality";
  switch (judgement.data_source()) {
    case Judgement::DATA_SOURCE_CALLER:
      absl::StrAppend(&text, " on ", FormatCount(judgement.samples()), " samples",
                      judgement.split().empty() ? "" : " (" + Printable(judgement.split()) + ")",
                      "\n");
      break;
    case Judgement::DATA_SOURCE_SYNTHETIC:
      absl::StrAppend(&text, " on ", FormatCount(judgement.samples()),
                      " SYNTHETIC samples (random: they say that the models compute alike, not "
                      "that the artifact is "
                      "good; give --data)\n");
      break;
    case Judgement::DATA_SOURCE_NONE:
      return report.recipe().judging().gate() == Judging::GATE_STRUCTURE
                 ? "Quality: not measured (structure gate: the file is valid, nothing was run)\n"
                 : "Quality: not measured (see the notes)\n";
    default:
      return "";
  }
  if (!judgement.task().empty()) absl::StrAppend(&text, "  ", Printable(judgement.task()), "\n");
  TextTable table;
  table.AddRow({"", "original", "artifact", "change"});
  const TaskMetrics& a = judgement.original();
  const TaskMetrics& b = judgement.artifact();
  auto points = [&](const char* name, double before, double after) {
    table.AddRow({name, FormatPercent(before), FormatPercent(after),
                  absl::StrFormat("%+.2f points", (after - before) * 100)});
  };
  if (b.has_accuracy()) points("accuracy", a.accuracy(), b.accuracy());
  if (b.has_f1_macro()) points("F1, macro", a.f1_macro(), b.f1_macro());
  if (b.has_f1_binary()) points("F1, class 1", a.f1_binary(), b.f1_binary());
  if (b.has_bits_per_token()) {
    table.AddRow({"bits per token", absl::StrFormat("%.4f", a.bits_per_token()),
                  absl::StrFormat("%.4f", b.bits_per_token()),
                  FormatChange(a.bits_per_token(), b.bits_per_token())});
  }
  if (judgement.has_agreement())
    table.AddRow({"same top-1", "", FormatPercent(judgement.agreement()), ""});
  if (!table.empty()) text += table.ToString();
  return text + OutputRows(judgement);
}

std::string LatencyLine(const Judgement& judgement) {
  if (!judgement.has_latency() || judgement.latency().runs() == 0) return "";
  const Latency& latency = judgement.latency();
  const double before = latency.original_median_seconds();
  const double after = latency.artifact_median_seconds();
  std::string verdict;
  if (before > 0 && after > 0) {
    verdict = after <= before ? absl::StrFormat(" (%.2fx faster)", before / after)
                              : absl::StrFormat(" (%.2fx SLOWER)", after / before);
  }
  return absl::StrFormat(
      "Latency of one run, %d thread%s, median of %d: %s +- %s before, %s +- %s after%s\n",
      latency.threads(), latency.threads() == 1 ? "" : "s", latency.runs(), FormatSeconds(before),
      FormatSeconds(latency.original_spread_seconds()), FormatSeconds(after),
      FormatSeconds(latency.artifact_spread_seconds()), verdict);
}

std::string MemoryLine(const Judgement& judgement) {
  const uint64_t before = judgement.original_memory_bytes(),
                 after = judgement.artifact_memory_bytes();
  if (before == 0 || after == 0) return "";
  return absl::StrFormat("Memory of the loaded model: %s before, %s after\n", FormatBytes(before),
                         FormatBytes(after));
}

std::string BoundSection(const Report& report) {
  if (report.bounds().empty()) return "";
  std::string text = "Bounds\n";
  for (const BoundResult& bound : report.bounds()) {
    absl::StrAppend(
        &text, "  ", bound.passed() ? "held    " : "MISSED  ",
        Printable(bound.explanation().empty() ? bound.bound().metric() : bound.explanation()),
        "\n");
  }
  return text;
}

// "too_small 7 (conv1.bias, ...)".
std::string SkipGroups(const PassReport& pass) {
  std::map<std::string, std::vector<std::string>> groups;
  for (const Skip& skip : pass.skips()) {
    groups[skip.reason()].push_back(Printable(skip.tensor().empty() ? skip.node() : skip.tensor()));
  }
  std::vector<std::string> parts;
  for (auto& [reason, names] : groups) {
    const size_t count = names.size();
    if (count > kMaxNames) {
      names.resize(kMaxNames);
      names.push_back("...");
    }
    parts.push_back(
        absl::StrCat(Printable(reason), " ", count, " (", absl::StrJoin(names, ", "), ")"));
  }
  return absl::StrJoin(parts, "; ");
}

std::string PassSection(const Report& report) {
  if (report.passes().empty()) return "";
  TextTable table;
  table.AddRow({"pass", "changed", "left alone", "weights before", "after", "time"});
  std::string details;
  for (const PassReport& pass : report.passes()) {
    table.AddRow({Printable(pass.pass()), FormatCount(pass.changes_size()),
                  FormatCount(pass.skips_size()), FormatBytes(pass.weight_bytes_before()),
                  FormatBytes(pass.weight_bytes_after()), FormatSeconds(pass.seconds())});
    if (!pass.skips().empty()) {
      absl::StrAppend(&details, "  ", Printable(pass.pass()), " left alone: ", SkipGroups(pass),
                      "\n");
    }
    uint64_t clamped = 0;
    const Change* worst = nullptr;
    for (const Change& change : pass.changes()) {
      clamped += change.clamped();
      if (change.has_sqnr_db() && (worst == nullptr || change.sqnr_db() < worst->sqnr_db()))
        worst = &change;
    }
    if (worst != nullptr) {
      absl::StrAppend(&details, "  ", Printable(pass.pass()),
                      " worst weight: ", Printable(worst->tensor()), ", ",
                      FormatNumber(worst->sqnr_db()), " dB\n");
    }
    if (clamped > 0) {
      absl::StrAppend(&details, "  ", Printable(pass.pass()), " clamped ", FormatCount(clamped),
                      " values\n");
    }
    for (const std::string& note : pass.notes()) {
      absl::StrAppend(&details, "  ", Printable(pass.pass()), ": ", Printable(note), "\n");
    }
    if (const auto rows = StudentRows(pass); !rows.empty()) {
      TextTable students;
      for (const auto& row : rows) students.AddRow(row);
      absl::StrAppend(&details, "  Students\n", students.ToString());
    }
    // Of several the curves are in the JSON report and on the page.
    if (pass.trainings_size() == 1) {
      TextTable curve;
      for (auto& row : TrainingRows(pass.trainings(0))) curve.AddRow(row);
      absl::StrAppend(&details, "  ", TrainingTitle(pass.trainings(0)), "\n", curve.ToString());
    }
    if (const auto rows = TrailRows(pass); !rows.empty()) {
      TextTable trail;
      for (auto row : rows) {
        // Exceptions name layers by the dozen; the JSON report and the page have them all.
        if (row[0].size() > kMaxSteps) {
          size_t end = kMaxSteps;
          while (end > 0 && (row[0][end] & 0xc0) == 0x80) --end;  // not within a character
          row[0] = row[0].substr(0, end) + "...";
        }
        trail.AddRow(row);
      }
      details += trail.ToString();
    }
  }
  return absl::StrCat("Passes\n", table.ToString(), details);
}

std::string TimeSection(const Report& report) {
  if (report.phases().empty()) return "";
  std::vector<std::string> parts;
  double total = 0;
  for (const PhaseTime& phase : report.phases()) {
    total += phase.seconds();
    parts.push_back(absl::StrCat(Printable(phase.name()), " ", FormatSeconds(phase.seconds())));
  }
  return absl::StrCat("Time ", FormatSeconds(total), ": ", absl::StrJoin(parts, ", "), "\n");
}

// A note without its quoted names, and the first of them.
struct NotePattern {
  std::string text, name;
};

NotePattern PatternOf(std::string_view note) {
  NotePattern pattern;
  const std::vector<std::string> pieces =
      absl::StrSplit(absl::string_view(note.data(), note.size()), '"');
  if (pieces.size() % 2 == 0) return {std::string(note), ""};  // a quote without its end
  for (size_t i = 0; i < pieces.size(); i += 2) absl::StrAppend(&pattern.text, pieces[i], "*");
  pattern.text.pop_back();
  if (pieces.size() > 1) pattern.name = pieces[1];
  return pattern;
}

// One line for each note; those that differ in names only, if they are many, have one with the first names. Other reports
// have them all.
std::string NoteLines(const Report& report) {
  constexpr int kSeveral = 3;
  absl::flat_hash_map<std::string, std::vector<std::string>> names;
  for (const std::string& note : report.notes()) {
    NotePattern pattern = PatternOf(note);
    names[pattern.text].push_back(std::move(pattern.name));
  }
  absl::flat_hash_set<std::string> written;
  std::string text;
  for (const std::string& note : report.notes()) {
    const NotePattern pattern = PatternOf(note);
    const std::vector<std::string>& same = names.at(pattern.text);
    if (same.size() <= kSeveral || pattern.name.empty()) {
      absl::StrAppend(&text, "Note: ", Printable(note), "\n");
    } else if (written.insert(pattern.text).second) {
      const std::vector<std::string> first(same.begin(), same.begin() + kSeveral);
      absl::StrAppend(&text, "Note: ", same.size(), " times: ",
                      Printable(absl::StrReplaceAll(pattern.text, {{" * ", " "}, {" *", ""}})),
                      " (", Printable(absl::StrJoin(first, ", ")), ", ...)\n");
    }
  }
  return text;
}

}  // namespace

std::string RenderReport(const Report& report) {
  std::string text = absl::StrCat(SizeSection(report), QualitySection(report), BoundSection(report),
                                  LatencyLine(report.judgement()), MemoryLine(report.judgement()),
                                  PassSection(report), TimeSection(report));
  if (report.peak_anonymous_bytes() > 0) {
    absl::StrAppend(&text, "Memory: peak ", FormatBytes(report.peak_anonymous_bytes()));
    if (report.planned_memory_bytes() > 0) {
      absl::StrAppend(&text, ", planned ", FormatBytes(report.planned_memory_bytes()));
    }
    text += "\n";
  }
  return text + NoteLines(report);
}

std::vector<std::vector<std::string>> TrailRows(const PassReport& pass) {
  std::vector<std::vector<std::string>> rows;
  if (pass.trail().empty()) return rows;
  rows.push_back({"tried", "bytes", "SQNR dB", "same top-1", "accuracy", "latency", "verdict"});
  for (const TuneTrial& row : pass.trail()) {
    rows.push_back({Printable(row.steps()), row.bytes() > 0 ? FormatBytes(row.bytes()) : "",
                    row.has_sqnr_db() ? FormatNumber(row.sqnr_db()) : "",
                    row.has_agreement() ? FormatPercent(row.agreement()) : "",
                    row.has_accuracy_drop()
                        ? absl::StrFormat("%+.2f points", 0 - row.accuracy_drop() * 100)
                        : "",
                    row.has_latency_ratio() ? absl::StrFormat("%.2fx", row.latency_ratio()) : "",
                    row.holds()         ? "holds"
                    : row.why().empty() ? "misses a bound"
                                        : Printable(row.why())});
  }
  return rows;
}

std::string RenderPlan(const Plan& plan) {
  TextTable table;
  table.AddRow({"step", "memory", "scratch", "about"});
  for (const PlanStep& step : plan.steps()) {
    table.AddRow({Printable(step.name()), FormatBytes(step.memory_bytes()),
                  FormatBytes(step.scratch_bytes()), FormatSeconds(step.seconds())});
  }
  std::string text = table.empty() ? "" : table.ToString();
  absl::StrAppend(&text, "At most ", FormatBytes(plan.memory_bytes()), " of memory and ",
                  FormatBytes(plan.scratch_bytes()), " of scratch");
  if (plan.seconds() > 0) absl::StrAppend(&text, "; about ", FormatSeconds(plan.seconds()));
  return text + "\n";
}

}  // namespace modelpress
