// YAML text into a tree: see yaml_tree.h.
#include "core/recipe/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <istream>
#include <streambuf>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// A refusal on its way through yaml-cpp's frames; caught in ParseYaml.
struct Refusal {
  int line;
  std::string message;
};

absl::Status SyntaxError(int line, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("line {}: {}", line, message))
      .With("line", std::to_string(line));
}

// Builds the tree from the parser's events. Marks count lines from 0.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Place(mark, "", anchor, {.kind = YamlNode::Kind::kNull});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{mark.line + 1, "aliases (*name) are not supported; write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // Plain "null" and "~" arrive as scalars in some positions of the grammar.
    const bool null = tag == "?" && (value.empty() || value == "~" || value == "null");
    if (null && !KeyExpected()) {
      Place(mark, tag, anchor, {.kind = YamlNode::Kind::kNull});
    } else {
      Place(mark, tag, anchor, {.kind = YamlNode::Kind::kScalar, .scalar = value});
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  // A container being filled; `node` stays valid because its parent does not grow while it is open.
  struct Container {
    YamlNode* node;
    bool has_key = false;
    std::string key = {};
  };

  bool KeyExpected() const {
    return !open_.empty() && open_.back().node->kind == YamlNode::Kind::kMap &&
           !open_.back().has_key;
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    if (KeyExpected()) throw Refusal{mark.line + 1, "a key must be a plain name"};
    if (static_cast<int>(open_.size()) == kMaxYamlDepth) {
      throw Refusal{mark.line + 1, FormatString("nested deeper than {} levels", kMaxYamlDepth)};
    }
    open_.push_back({Place(mark, tag, anchor, {.kind = kind})});
  }

  // Puts a finished node where it belongs and returns its address; null for keys.
  YamlNode* Place(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YamlNode node) {
    node.line = mark.line + 1;
    if (anchor != YAML::NullAnchor) {
      throw Refusal{node.line, "anchors (&name) are not supported; write the value out"};
    }
    // "?" and "!" are the parser's own marks for plain and quoted scalars.
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refusal{node.line, FormatString("tags ({}) are not supported", tag)};
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    Container& container = open_.back();
    if (container.node->kind == YamlNode::Kind::kList) {
      return &container.node->items.emplace_back(std::move(node));
    }
    auto& fields = container.node->fields;
    if (!container.has_key) {
      if (std::ranges::any_of(fields, [&](auto& field) { return field.first == node.scalar; })) {
        throw Refusal{node.line, FormatString("'{}' is given twice", node.scalar)};
      }
      container.has_key = true;
      container.key = std::move(node.scalar);
      return nullptr;
    }
    container.has_key = false;
    return &fields.emplace_back(std::move(container.key), std::move(node)).second;
  }

  YamlNode root_;
  std::vector<Container> open_;
};

// Reads from memory that someone else owns.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin =
        const_cast<char*>(text.data());  // streambuf's interface; a get area is never written
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(std::string_view text) {
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return YamlNode();
    YamlNode root = builder.TakeRoot();
    TreeBuilder rest;
    if (parser.HandleNextDocument(rest)) {
      return SyntaxError(rest.TakeRoot().line, "a second document begins; only one is allowed");
    }
    return root;
  } catch (const Refusal& refusal) {
    return SyntaxError(refusal.line, refusal.message);
  } catch (const YAML::Exception& error) {
    return SyntaxError(error.mark.line + 1, error.msg);
  } catch (const std::exception& error) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("not readable as YAML: {}", error.what()));
  }
}

}  // namespace modelpress
