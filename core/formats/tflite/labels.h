// Files that were appended to a TensorFlow Lite file: a ZIP archive behind the FlatBuffer, as metadata writers leave it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace modelpress::tflite {

struct AppendedFile {
  std::string name;
  std::string text;  // only of small text files (labels, vocabularies); empty for others
};

// Empty where there is no archive or it cannot be read: it is no part of the model. Nothing larger than 1 MiB is unpacked.
std::vector<AppendedFile> AppendedFiles(std::span<const std::byte> bytes);

}  // namespace modelpress::tflite
