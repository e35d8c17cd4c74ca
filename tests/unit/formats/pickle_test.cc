// Pickles that are read and not run: what torch.save writes is understood, everything else is refused by its name.
#include <cstring>
#include <functional>

#include "core/base/status.h"
#include "core/formats/pytorch/checkpoint.h"
#include "core/formats/pytorch/pickle.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/pickle_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Pickle;
using testing::PickleDict;
using testing::PickleGlobal;
using testing::PickleInt;
using testing::PickleTensor;
using testing::PickleText;
using testing::RawZip;
using namespace std::string_literals;

absl::Status Read(const std::string& bytes) {
  return pytorch::ReadPickle(std::as_bytes(std::span(bytes))).status();
}

// Two rows of three floats, 0 .. 5, as torch.save writes a state dict.
std::string Floats(int count) {
  std::string bytes(static_cast<size_t>(count) * 4, '\0');
  for (int i = 0; i < count; ++i) {
    const float value = static_cast<float>(i);
    std::memcpy(bytes.data() + 4 * i, &value, 4);
  }
  return bytes;
}

absl::StatusOr<std::vector<NamedTensor>> ReadArchive(const std::string& zip, testing::TestJob& job,
                                                     std::vector<std::string>* notes) {
  const InputFile file = testing::MakeInput("w.pth", zip);
  WeightArena arena(&job.scratch());
  return pytorch::ReadCheckpoint({file.file, 0, file.file->size()}, arena, &job.scratch(), notes);
}

std::vector<float> ValuesOf(const NamedTensor& tensor) {
  std::vector<float> values(tensor.data.length / 4);
  std::memcpy(values.data(), tensor.data.bytes().data(), values.size() * 4);
  return values;
}

TEST(Checkpoint, TensorsLieWhereTheyAreAndStridedOnesAreCopied) {
  const std::string state =
      Pickle(PickleDict({{"a", PickleTensor("FloatStorage", "0", 6, 0, {2, 3}, {3, 1})},
                         {"turned", PickleTensor("FloatStorage", "0", 6, 0, {3, 2}, {1, 3})},
                         {"tail", PickleTensor("FloatStorage", "0", 6, 4, {2}, {1})},
                         {"spread", PickleTensor("FloatStorage", "0", 6, 1, {2, 2}, {0, 1})},
                         {"one", PickleTensor("FloatStorage", "0", 6, 5, {}, {})},
                         {"none", PickleTensor("FloatStorage", "0", 6, 0, {0, 3}, {3, 1})}}));
  testing::TestJob job;
  std::vector<std::string> notes;
  const auto tensors =
      ReadArchive(RawZip({{"m/data.pkl", state}, {"m/data/0", Floats(6)}}), job, &notes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 6u);
  EXPECT_THAT(ValuesOf((*tensors)[0]), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(ValuesOf((*tensors)[1]), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(ValuesOf((*tensors)[2]), ElementsAre(4, 5));
  EXPECT_THAT(ValuesOf((*tensors)[3]), ElementsAre(1, 2, 1, 2));
  EXPECT_THAT(ValuesOf((*tensors)[4]), ElementsAre(5));
  EXPECT_TRUE(ValuesOf((*tensors)[5]).empty());
  // Of the archive itself, at two places of one storage.
  EXPECT_EQ((*tensors)[0].data.file, (*tensors)[2].data.file);
  EXPECT_EQ((*tensors)[2].data.offset - (*tensors)[0].data.offset, 16u);
  EXPECT_NE((*tensors)[1].data.file, (*tensors)[0].data.file);
}

TEST(Checkpoint, LooksThroughTheWrappingOfATrainingRun) {
  const std::string weight = PickleTensor("HalfStorage", "0", 2, 0, {2}, {1});
  const std::string state =
      Pickle(PickleDict({{"epoch", PickleInt(3)}, {"state_dict", PickleDict({{"w", weight}})}}));
  testing::TestJob job;
  std::vector<std::string> notes;
  const auto tensors =
      ReadArchive(RawZip({{"m/data.pkl", state}, {"m/data/0", "abcd"}}), job, &notes);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 1u);
  EXPECT_EQ((*tensors)[0].name, "w");
  EXPECT_EQ((*tensors)[0].type, DataType::kFloat16);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("state_dict")));
}

TEST(Checkpoint, RefusesTensorsThatDoNotFitTheirStorage) {
  struct Case {
    const char* name;
    std::string tensor;
    ErrorReason reason;
  };
  const int64_t huge = int64_t{1} << 40;
  for (const Case& test : std::vector<Case>{
           {"past the end", PickleTensor("FloatStorage", "0", 6, 1, {2, 3}, {3, 1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"the storage claims more than there is",
            PickleTensor("FloatStorage", "0", 600, 0, {600}, {1}), ERROR_REASON_MODEL_MALFORMED},
           {"negative offset", PickleTensor("FloatStorage", "0", 6, -1, {1}, {1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"negative extent", PickleTensor("FloatStorage", "0", 6, 0, {-1}, {1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"negative stride", PickleTensor("FloatStorage", "0", 6, 5, {2}, {-1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"strides of another rank", PickleTensor("FloatStorage", "0", 6, 0, {2}, {1, 1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"extents overflow", PickleTensor("FloatStorage", "0", 6, 0, {huge, huge}, {0, 0}),
            ERROR_REASON_MODEL_MALFORMED},
           {"strides overflow",
            PickleTensor("FloatStorage", "0", 6, 0, {3, 2}, {int64_t{1} << 62, 1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"a bomb of one element", PickleTensor("FloatStorage", "0", 6, 0, {huge}, {0}),
            ERROR_REASON_MODEL_LIMIT},
           {"no such storage", PickleTensor("FloatStorage", "7", 6, 0, {1}, {1}),
            ERROR_REASON_MODEL_MALFORMED},
           {"a storage outside", PickleTensor("FloatStorage", "../0", 6, 0, {1}, {1}),
            ERROR_REASON_MODEL_MALFORMED},
       }) {
    testing::TestJob job;
    std::vector<std::string> notes;
    const auto tensors = ReadArchive(
        RawZip({{"m/data.pkl", Pickle(PickleDict({{"w", test.tensor}}))}, {"m/data/0", Floats(6)}}),
        job, &notes);
    EXPECT_EQ(ReasonOf(tensors.status()), test.reason) << test.name << ": " << tensors.status();
  }
}

TEST(Pickle, CallsThatRebuildNoTensorAreRefusedByName) {
  struct Case {
    std::string program;
    const char* name;
  };
  for (const Case& test : std::vector<Case>{
           {PickleGlobal("os", "system") + PickleText("touch /tmp/owned") + "\x85R", "os.system"},
           {PickleGlobal("posix", "system") + PickleText("id") + "\x85R", "posix.system"},
           {PickleGlobal("builtins", "eval") + PickleText("1") + "\x85R", "builtins.eval"},
           {PickleGlobal("builtins", "getattr"), "builtins.getattr"},
           {PickleGlobal("subprocess", "Popen"), "subprocess.Popen"},
           {PickleGlobal("torch", "load"), "torch.load"},
           {PickleGlobal("torch.hub", "load"), "torch.hub.load"},
           {PickleGlobal("torch._utils", "_import_dotted_name"),
            "torch._utils._import_dotted_name"},
           {PickleGlobal("numpy.core.multiarray", "scalar"), "numpy.core.multiarray.scalar"},
           {PickleGlobal("models.yolo", "Model"), "models.yolo.Model"},
           {PickleText("os") + PickleText("system") + "\x93", "os.system"},
           {"(" + PickleText("x") + "ios\nsystem\n", "os.system"},
           {PickleGlobal("torch", "Size") + ")\x81", "copyreg.__newobj__"},
           {"\x82\x01"s, "copyreg._extension_registry"},
       }) {
    const absl::Status status = Read(Pickle(test.program));
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.name));
  }
}

TEST(Pickle, RefusesProgramsThatAreNone) {
  for (const std::string& bytes : std::vector<std::string>{
           "",
           "\x80",
           "\x80\x02",
           "\x80\x09.",
           "\x80\x02.",  // nothing to give
           Pickle("R"),
           Pickle("t"),
           Pickle("(1."),
           Pickle("0"),
           Pickle("2"),  // an empty stack
           Pickle("h\x01"),
           Pickle("q\x01"),  // memo slots
           Pickle("X\xff\xff\xff\xff"
                  "abc"),
           Pickle("c"
                  "os"),
           Pickle("J\x01"),  // cut off
           Pickle("}(" + PickleText("odd") + "u"),
           Pickle("]s"),
           Pickle(PickleInt(1) + PickleInt(2) + "a"),
           Pickle("Q"),
           Pickle(PickleInt(1) + "Q"),
           Pickle(PickleInt(1) + "}b"),
           Pickle("\xff"),
           Pickle("\x8a\x09"
                  "123456789"),
           Pickle("\x95\xff\xff\xff\xff\xff\xff\xff\x7f"),
           Pickle(PickleGlobal("torch._utils", "_rebuild_tensor_v2") + ")R"),
           Pickle(PickleGlobal("torch._utils", "_rebuild_parameter") + PickleInt(1) + "\x85R"),
           Pickle(PickleGlobal("torch", "Size") + PickleInt(1) + "\x85R"),
       }) {
    const absl::Status status = Read(bytes);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_MODEL_MALFORMED)
        << ::testing::PrintToString(bytes) << " " << status;
  }
}

TEST(Pickle, BombsOfReferencesStaySmall) {
  // l1 = [l0, l0], l2 = [l1, l1], ...: 2^60 elements if anybody walked them.
  std::string program = PickleTensor("FloatStorage", "0", 6, 0, {1}, {1}) + std::string("q\x00", 2);
  for (int i = 0; i < 60; ++i) {
    const std::string slot(1, static_cast<char>(i)), next(1, static_cast<char>(i + 1));
    program += "](h" + slot + "h" + slot + "eq" + next;
  }
  EXPECT_TRUE(Read(Pickle(program)).ok());
  testing::TestJob job;
  std::vector<std::string> notes;
  const auto tensors =
      ReadArchive(RawZip({{"m/data.pkl", Pickle(program)}, {"m/data/0", Floats(6)}}), job, &notes);
  EXPECT_EQ(ReasonOf(tensors.status()), ERROR_REASON_MODEL_LIMIT) << tensors.status();
}

TEST(Pickle, UnderstandsLaterProtocols) {
  const std::string size(8, '\0');
  const std::string program = "\x80\x04\x95" + size + "}\x94(\x8c\x01w\x94" + "K\x05" + "u.";
  const auto pickle = pytorch::ReadPickle(std::as_bytes(std::span(program)));
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  EXPECT_EQ((*pickle)[pickle->root].items.size(), 2u);
}

}  // namespace
}  // namespace modelpress
