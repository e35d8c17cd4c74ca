// Recognising files by their bytes.
#include <string>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/formats/input_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_data.h"

namespace modelpress {
namespace {

using testing::MakeInput;

std::string Bytes(std::string_view text) { return std::string(text); }

struct FormatCase {
  std::string bytes;
  const char* name;
};

TEST(IdentifyKnownFormat, NamesFormatsByTheirBytes) {
  using namespace std::string_literals;
  const std::string node =
      "\x0a\x1c\x0a\x05" + "input"s + "\x12\x0b" + "Placeholder"s + "\x3a\x06\x0a\x01s\x12\x01x";
  for (const FormatCase& test :
       std::vector<FormatCase>{{"\x89HDF\r\n\x1a\n", "HDF5 (Keras .h5)"},
                               {"PK\x03\x04"
                                "model.weights.h5 config.json",
                                "Keras (.keras)"},
                               {"PK\x03\x04"
                                "m/code/__torch__.py m/constants.pkl m/data.pkl",
                                "TorchScript"},
                               {"PK\x03\x04"
                                "input.npy",
                                "NumPy archive (.npz)"},
                               {"PK\x03\x04"
                                "readme",
                                "ZIP archive"},
                               {"GGUF\3\0\0\0"s, "GGUF"},
                               {"\x1c\0\0\0ET12\0\0\0\0"s, "ExecuTorch (.pte)"},
                               {"\x80\x04\x95", "Python pickle (old .pth, scikit-learn)"},
                               {"7767517\n3 2\n", "ncnn/pnnx parameters"},
                               {"\x93NUMPY\x01\0"s, "NumPy array (.npy)"},
                               {"\x1f\x8b\x08", "gzip"},
                               {node, "TensorFlow GraphDef"},
                               {"hello", ""},
                               {"", ""},
                               {std::string(100, '\0'), ""}}) {
    const KnownFormat known = IdentifyKnownFormat(std::as_bytes(std::span(test.bytes)));
    EXPECT_EQ(known.name, test.name) << test.bytes;
    EXPECT_EQ(known.remedy.empty(), known.name.empty());
  }
}

TEST(FormatRegistry, RecognisesOnnxByStructureNotByName) {
  const std::string bytes = testing::ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1] x) => (float[1] y) { y = Relu(x) })")
                                .SerializeAsString();
  const auto recognise = [](std::string_view name, const std::string& content) {
    return FormatRegistry::Get().Recognise({MakeInput(name, content), {}});
  };
  const auto format = recognise("picture.png", bytes);
  ASSERT_TRUE(format.ok()) << format.status();
  EXPECT_EQ((*format)->name(), "onnx");
  // A cut-off graph is still ONNX, so that the error says what is wrong with it.
  EXPECT_TRUE(recognise("m.onnx", bytes.substr(0, bytes.size() - 10)).ok());
  const auto refused = recognise("m.onnx", Bytes("hello"));
  EXPECT_EQ(ReasonOf(refused.status()), ERROR_REASON_FORMAT_UNSUPPORTED);
}

TEST(OpenModelFiles, TakesPlainFilesBesideTheModelOnly) {
  testing::TestJob job;
  onnx::ModelProto proto = testing::ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1] x) => (float[1] y) { y = Relu(x) })");
  for (const char* location : {"good.data", "link.data", "../outside.data", "/etc/hostname",
                               "missing.data", "good.data"}) {
    onnx::TensorProto* tensor = proto.mutable_graph()->add_initializer();
    tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    auto* entry = tensor->add_external_data();
    entry->set_key("location");
    entry->set_value(location);
  }
  testing::WriteFile(job.folder() + "/model.onnx", proto.SerializeAsString());
  testing::WriteFile(job.folder() + "/good.data", "1234");
  ASSERT_EQ(symlink("good.data", (job.folder() + "/link.data").c_str()), 0);
  const auto files = OpenModelFiles(job.folder() + "/model.onnx");
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->main.name, "model.onnx");
  ASSERT_EQ(files->sidecars.size(), 1);
  EXPECT_EQ(files->sidecars[0].name, "good.data");
  EXPECT_EQ(ReasonOf(OpenModelFiles(job.folder() + "/none.onnx").status()),
            ERROR_REASON_FILE_ACCESS);
}

}  // namespace
}  // namespace modelpress
