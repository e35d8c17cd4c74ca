// Which arrays of a folder belong to which inputs and outputs.
#include "core/measure/expectation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/status.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ModelFromText;
using testing::TestJob;

Model Difference() {
  return ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[1] left, float[1] right) => (float[1] apart) { apart = Sub (left, right) })");
}

void Save(const std::string& path, float value) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
  header.resize((10 + header.size()) / 64 * 64 + 64 - 11, ' ');
  header += "\n";
  std::ofstream file(path, std::ios::binary);
  file << "\x93NUMPY" << '\x01' << '\x00' << static_cast<char>(header.size() % 256)
       << static_cast<char>(header.size() / 256) << header;
  file.write(reinterpret_cast<const char*>(&value), sizeof(value));
}

// 5 - 3 = 2 under the given names; the notes.
absl::StatusOr<std::vector<std::string>> Compare(const TestJob& job, const std::string& left,
                                                 const std::string& right,
                                                 const std::string& apart) {
  const std::string folder = job.folder() + "/" + left + right + apart;
  std::filesystem::create_directories(folder);
  Save(folder + "/" + left, 5);
  Save(folder + "/" + right, 3);
  Save(folder + "/" + apart, 2);
  std::vector<std::string> notes;
  MP_ASSIGN_OR_RETURN(const auto outputs, CompareWithExpected(Difference(), folder, 1e-3, &notes));
  EXPECT_EQ(outputs.size(), 1u);
  EXPECT_TRUE(outputs[0].holds) << outputs[0].max_abs_error;
  return notes;
}

TEST(CompareWithExpected, TakesArraysByNameThenByNumber) {
  TestJob job;
  EXPECT_THAT(*Compare(job, "left.npy", "right.npy", "apart.npy"), IsEmpty());
  EXPECT_THAT(*Compare(job, "in0.npy", "in1.npy", "out0.npy"), IsEmpty());
}

TEST(CompareWithExpected, TakesOtherNamesByTheirPlace) {
  TestJob job;
  EXPECT_THAT(
      *Compare(job, "input_9.npy", "input_10.npy", "output_0.npy"),
      ElementsAre(HasSubstr("output_0.npy"), HasSubstr("input_9.npy"), HasSubstr("input_10.npy")));
}

TEST(CompareWithExpected, SaysWhatWasLookedForAndWhatIsThere) {
  TestJob job;
  const auto missing = Compare(job, "left.npy", "rigth.npy", "apart.npy").status();
  EXPECT_EQ(ReasonOf(missing), ERROR_REASON_DATA_MISSING);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("in1.npy"));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("rigth.npy"));
}

}  // namespace
}  // namespace modelpress
