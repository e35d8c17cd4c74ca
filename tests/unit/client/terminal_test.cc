// What people see: numbers, tables, errors, the bar, exit codes.
#include "client/terminal/format.h"

#include "client/terminal/error_view.h"
#include "client/terminal/exit_code.h"
#include "client/terminal/json.h"
#include "client/terminal/progress_display.h"
#include "client/terminal/report_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(FormatTest, Numbers) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes((1u << 20) - 1), "1.0 MiB");
  EXPECT_EQ(FormatBytes(3ull << 40), "3.0 TiB");
  EXPECT_EQ(FormatCount(7), "7");
  EXPECT_EQ(FormatCount(148282), "148,282");
  EXPECT_EQ(FormatCount(1234567890), "1,234,567,890");
  EXPECT_EQ(FormatSeconds(0.000012), "12 us");
  EXPECT_EQ(FormatSeconds(0.0032), "3.2 ms");
  EXPECT_EQ(FormatSeconds(41), "41.0 s");
  EXPECT_EQ(FormatSeconds(125), "2 min 05 s");
  EXPECT_EQ(FormatSeconds(7260), "2 h 01 min");
  EXPECT_EQ(FormatNumber(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(FormatPercent(0.98114), "98.11 %");
}

TEST(FormatTest, NothingPrintedSteersTheTerminal) {
  EXPECT_EQ(Printable("conv1.weight"), "conv1.weight");
  EXPECT_EQ(Printable("größe ▇"), "größe ▇");
  EXPECT_EQ(Printable("a\033[2Jb\r\n\x7f"), "a?[2Jb???");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "?31m");                            // C1 control sequence introducer
  EXPECT_EQ(Printable("\xff\xc0\xaf"), "???");  // never valid, overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "???");  // surrogate
  EXPECT_EQ(Printable("x\xe2\x96"), "x??");     // cut off
}

TEST(FormatTest, TableAlignsNumbersRightAndTextLeft) {
  TextTable table;
  table.AddRow({"name", "size", "note"});
  table.AddRow({"ä", "1", "first"});
  table.AddRow({"long name", "12", ""});
  EXPECT_EQ(table.ToString(""), "name       size  note\nä             1  first\nlong name    12\n");
}

TEST(ProgressTest, BarFitsEveryWidth) {
  for (size_t columns = 0; columns < 200; ++columns) {
    for (double fraction : {-1.0, 0.0, 0.5, 0.999, 1.0, 7.0}) {
      const std::string line =
          BarLine(columns, fraction, "quantize_weights", "encoder.größe.weight", 12);
      EXPECT_LT(DisplayWidth(line), std::max<size_t>(columns, 1)) << columns << " " << fraction;
    }
  }
  EXPECT_EQ(BarLine(80, 0.5, "judge", "", -1), "[#############-------------]  50% judge");
  EXPECT_THAT(BarLine(100, 0.999, "judge", "", -1), HasSubstr(" 99% "));
  EXPECT_THAT(BarLine(100, 0.5, "judge", "", 65), HasSubstr("1 min 05 s left"));
}

TEST(ExitCodeTest, EveryReasonHasItsCode) {
  struct {
    ErrorReason reason;
    int code;
  } cases[] = {{ERROR_REASON_RECIPE_INVALID, 3},       {ERROR_REASON_MODEL_MALFORMED, 3},
               {ERROR_REASON_DATA_MISSING, 3},         {ERROR_REASON_NOTHING_CHANGED, 3},
               {ERROR_REASON_QUALITY_BOUND_MISSED, 4}, {ERROR_REASON_QUEUE_FULL, 5},
               {ERROR_REASON_SERVER_UNREACHABLE, 5},   {ERROR_REASON_JOB_CANCELLED, 6},
               {ERROR_REASON_OUTPUT_EXISTS, 2},        {ERROR_REASON_FILE_ACCESS, 2},
               {ERROR_REASON_INTERNAL_BUG, 1},         {ERROR_REASON_WORKER_CRASHED, 1}};
  for (const auto& c : cases) EXPECT_EQ(ExitCodeOf(c.reason), c.code) << ReasonName(c.reason);
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  // Reasons of the request, the model and the data (1 to 29) are never the program's own fault.
  for (int reason = 1; reason < 30; ++reason) {
    if (!ErrorReason_IsValid(reason) || reason == ERROR_REASON_PROTOCOL_VIOLATION) continue;
    EXPECT_NE(ExitCodeOf(static_cast<ErrorReason>(reason)), 1) << reason;
  }
}

TEST(ErrorViewTest, SaysReasonPlaceAndRemedyOnce) {
  const absl::Status status =
      Error(ERROR_REASON_MODEL_MALFORMED, "raw_data has 12 bytes but needs 16")
          .Tensor("fc\033.weight")
          .Remedy("export the model again");
  EXPECT_EQ(RenderError(status),
            "error: raw_data has 12 bytes but needs 16\n"
            "  reason: MODEL_MALFORMED\n"
            "  tensor: fc?.weight\n"
            "  what to do: export the model again\n");
}

TEST(ErrorViewTest, ListsHaveLinesThatNoNameCanForge) {
  const absl::Status status =
      Error(ERROR_REASON_OP_UNSUPPORTED, "2 operators:\n  1 x a\n  what to do: nothing");
  EXPECT_EQ(RenderError(status),
            "error: 2 operators:\n"
            "    1 x a\n"
            "    what to do: nothing\n"
            "  reason: OP_UNSUPPORTED\n");
}

Report SmallReport() {
  Report report;
  report.mutable_original()->set_file_bytes(4000);
  report.mutable_artifact()->set_file_bytes(1000);
  Judgement& judgement = *report.mutable_judgement();
  judgement.set_samples(100);
  judgement.set_split("test split of the caller's data");
  judgement.set_data_source(Judgement::DATA_SOURCE_CALLER);
  judgement.mutable_original()->set_accuracy(0.98);
  judgement.mutable_artifact()->set_accuracy(0.975);
  for (const auto& [name, db] : {std::pair("good", 60.0), std::pair("bad", 5.0)}) {
    OutputComparison& output = *judgement.add_outputs();
    output.set_output(name);
    output.set_sqnr_db(db);
  }
  Latency& latency = *judgement.mutable_latency();
  latency.set_runs(9);
  latency.set_threads(1);
  latency.set_original_median_seconds(0.001);
  latency.set_artifact_median_seconds(0.002);
  judgement.set_original_memory_bytes(8 << 20);
  judgement.set_artifact_memory_bytes(2 << 20);
  return report;
}

TEST(JsonTest, MapsAreInTheOrderOfTheirKeys) {
  v1::Report report;
  auto& renamed = *report.mutable_recipe()->mutable_import()->mutable_renamed_weights();
  for (const char* name : {"delta", "alpha", "echo", "charlie", "bravo"}) renamed[name] = "to";
  const std::string json = ToJson(report);
  size_t at = 0;
  for (const char* name : {"\"alpha\"", "\"bravo\"", "\"charlie\"", "\"delta\"", "\"echo\""}) {
    const size_t found = json.find(name, at);
    ASSERT_NE(found, std::string::npos) << name << " in " << json;
    at = found;
  }
  v1::Report read;
  ASSERT_TRUE(FromJson(json, "r.json", &read).ok());
  EXPECT_EQ(ToJson(read), json);
}

TEST(ReportViewTest, SaysWhatCountsAndWhatIsWorse) {
  const std::string text = RenderReport(SmallReport());
  EXPECT_THAT(text, HasSubstr("25.0 % (4.00x smaller)"));
  EXPECT_THAT(text, HasSubstr("100 samples (test split"));
  EXPECT_THAT(text, HasSubstr("-0.50 points"));
  EXPECT_THAT(text, HasSubstr("2.00x SLOWER"));
  EXPECT_THAT(text, HasSubstr("loaded model: 8.0 MiB before, 2.0 MiB after"));
  EXPECT_LT(text.find("bad"), text.find("good")) << "the worst output comes first";
  EXPECT_THAT(text, Not(HasSubstr("F1"))) << "what was not measured is not shown";
}

TEST(ReportViewTest, SyntheticDataAndMissedBoundsAreSaid) {
  Report report = SmallReport();
  report.mutable_judgement()->set_data_source(Judgement::DATA_SOURCE_SYNTHETIC);
  BoundResult& bound = *report.add_bounds();
  bound.mutable_bound()->set_metric("sqnr_db");
  bound.set_explanation("sqnr_db of bad is 5, at least 40 required");
  const std::string text = RenderReport(report);
  EXPECT_THAT(text, HasSubstr("SYNTHETIC"));
  EXPECT_THAT(text, HasSubstr("MISSED  sqnr_db of bad is 5, at least 40 required"));
  report.mutable_judgement()->set_data_source(Judgement::DATA_SOURCE_NONE);
  EXPECT_THAT(RenderReport(report), HasSubstr("not measured"));
}

TEST(ReportViewTest, SkipsAreGroupedByReason) {
  Report report;
  PassReport& pass = *report.add_passes();
  pass.set_pass("quantize_weights");
  for (int i = 0; i < 7; ++i) {
    Skip& skip = *pass.add_skips();
    skip.set_tensor("b" + std::to_string(i));
    skip.set_reason(i < 6 ? "too_small" : "not_float");
  }
  EXPECT_THAT(RenderReport(report),
              HasSubstr("left alone: not_float 1 (b6); too_small 6 (b0, b1, b2, b3, ...)"));
}

TEST(ReportViewTest, NotesThatDifferInNamesAreOne) {
  Report report;
  for (int i = 0; i < 5; ++i) {
    const std::string number = std::to_string(i);
    report.add_notes("Transpose \"t" + number + "\" stays: input \"x\" and Conv \"c" + number +
                     "\" need different orders of axes");
  }
  report.add_notes("state \"s\" is an output");
  EXPECT_EQ(RenderReport(report),
            "Note: 5 times: Transpose stays: input and Conv need different orders of axes "
            "(t0, t1, t2, ...)\nNote: state \"s\" is an output\n");
}

}  // namespace
}  // namespace modelpress
