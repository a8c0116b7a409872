#include "kernel_source.h"

#include <cctype>
#include <cstring>

namespace coexec {
namespace {

constexpr char kMark[] = "// Function: ";

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

std::string strip_comments(const std::string& s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s.compare(i, 2, "//") == 0) {
      i = s.find('\n', i);
    } else if (s.compare(i, 2, "/*") == 0) {
      i = s.find("*/", i + 2);
      i = i == std::string::npos ? i : i + 1;
    } else {
      out += s[i];
      continue;
    }
    if (i == std::string::npos) {
      break;
    }
    out += ' ';
  }
  return out;
}

// Position after the bracket that closes the one at `open`, or npos.
size_t closing(const std::string& s, size_t open) {
  int depth = 0;
  for (size_t i = open; i < s.size(); ++i) {
    depth += std::strchr("([{", s[i]) ? 1 : std::strchr(")]}", s[i]) ? -1 : 0;
    if (depth == 0) {
      return i + 1;
    }
  }
  return std::string::npos;
}

size_t skip_space(const std::string& s, size_t i) {
  while (i < s.size() && std::isspace(static_cast<unsigned char>(s[i]))) {
    ++i;
  }
  return i;
}

// First position from `from` at which `word` is a complete word, or npos.
size_t find_word(const std::string& s, const std::string& word, size_t from) {
  for (size_t i = s.find(word, from); i != std::string::npos; i = s.find(word, i + 1)) {
    const bool left = i == 0 || !is_word(s[i - 1]);
    const bool right = i + word.size() >= s.size() || !is_word(s[i + word.size()]);
    if (left && right) {
      return i;
    }
  }
  return std::string::npos;
}

// Finds the definition of kernel `name`: its parameters "(...)" and its body "{...}".
bool find_definition(const std::string& s, const std::string& name, std::string* parameters, std::string* body) {
  for (size_t i = find_word(s, name, 0); i != std::string::npos; i = find_word(s, name, i + 1)) {
    const size_t open = skip_space(s, i + name.size());
    if (open >= s.size() || s[open] != '(') {
      continue;
    }
    const size_t close = closing(s, open);
    if (close == std::string::npos) {
      return false;
    }
    const size_t brace = skip_space(s, close);
    if (brace < s.size() && s[brace] == '{') {
      const size_t end = closing(s, brace);
      *parameters = s.substr(open + 1, close - open - 2);
      *body = s.substr(brace, end == std::string::npos ? end : end - brace);
      return end != std::string::npos;
    }
  }
  return false;
}

std::vector<std::string> split_top(const std::string& s, char at) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (char c : s) {
    depth += std::strchr("([{", c) ? 1 : std::strchr(")]}", c) ? -1 : 0;
    if (c == at && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::string word_before(const std::string& s, size_t end) {
  size_t begin = end;
  while (begin > 0 && is_word(s[begin - 1])) {
    --begin;
  }
  return s.substr(begin, end - begin);
}

std::string last_word(const std::string& s) {
  size_t end = s.size();
  while (end > 0 && !is_word(s[end - 1])) {
    --end;
  }
  return word_before(s, end);
}

// Whether the text from `i` on (spaces skipped) assigns to, increments or decrements the expression before it.
bool is_assigned(const std::string& s, size_t i) {
  i = skip_space(s, i);
  if (i < s.size() && s[i] == '.') {  // a vector's component: x.s0 = ...
    i = skip_space(s, i + 1);
    while (i < s.size() && is_word(s[i])) {
      ++i;
    }
    i = skip_space(s, i);
  }
  static const char* const ops[] = {"<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "++", "--"};
  for (const char* op : ops) {
    if (s.compare(i, std::strlen(op), op) == 0) {
      return true;
    }
  }
  return i < s.size() && s[i] == '=' && s.compare(i, 2, "==") != 0;
}

// Whether the text before `i` (spaces skipped) ends with `text`.
bool is_preceded_by(const std::string& s, size_t i, const std::string& text) {
  while (i > 0 && std::isspace(static_cast<unsigned char>(s[i - 1]))) {
    --i;
  }
  return i >= text.size() && s.compare(i - text.size(), text.size(), text) == 0;
}

// The innermost bracket around the position, or npos at top level.
size_t enclosing(const std::string& s, size_t i) {
  int depth = 0;
  while (i-- > 0) {
    depth += std::strchr(")]}", s[i]) ? 1 : 0;
    if (std::strchr("([{", s[i]) && depth-- == 0) {
      return i;
    }
  }
  return std::string::npos;
}

// Whether the subscript "[...]" at `open` is a load.
bool subscript_loads(const std::string& s, size_t expression, size_t open) {
  const size_t close = closing(s, open);
  return close != std::string::npos && !is_assigned(s, close) && !is_preceded_by(s, expression, "&") &&
         !is_preceded_by(s, expression, "++") && !is_preceded_by(s, expression, "--");
}

// Whether the pointer at `at` is used in one of TVM's three forms of a load: p[i];  ((__global T*)(p + i))[j];
// vloadN(i, p + j).
bool occurrence_loads(const std::string& s, size_t at, const std::string& name) {
  const size_t after = skip_space(s, at + name.size());
  if (after < s.size() && s[after] == '[') {
    return subscript_loads(s, at, after);
  }
  const size_t open = enclosing(s, at);
  if (open == std::string::npos || s[open] != '(' || !(after < s.size() && (s[after] == '+' || s[after] == ')'))) {
    return false;
  }
  const size_t close = closing(s, open);
  if (close == std::string::npos) {
    return false;
  }
  const std::string callee = word_before(s, open);
  if (callee.rfind("vload", 0) == 0) {
    return true;
  }
  // "(p + i)" directly after a cast "(__global T*)", both in one bracket that is subscripted.
  if (!callee.empty() || !is_preceded_by(s, open, ")") || skip_space(s, open + 1) != at) {
    return false;
  }
  const size_t cast = enclosing(s, s.rfind(')', open - 1));
  if (cast == std::string::npos || s.substr(cast, open - cast).find("__global") == std::string::npos) {
    return false;
  }
  const size_t outer = enclosing(s, cast);
  if (outer == std::string::npos || s[outer] != '(' || skip_space(s, outer + 1) != cast) {
    return false;
  }
  const size_t outer_close = closing(s, outer);
  if (outer_close == std::string::npos || skip_space(s, close) + 1 != outer_close) {
    return false;
  }
  const size_t subscript = skip_space(s, outer_close);
  return subscript < s.size() && s[subscript] == '[' && subscript_loads(s, outer, subscript);
}

bool only_loads(const std::string& body, const std::string& name) {
  for (size_t i = find_word(body, name, 0); i != std::string::npos; i = find_word(body, name, i + 1)) {
    if (!occurrence_loads(body, i, name)) {
      return false;
    }
  }
  return true;
}

// Removes the lines "__kernel void name(...);".
std::string strip_declarations(const std::string& s) {
  std::string out;
  for (size_t begin = 0; begin < s.size();) {
    size_t end = s.find('\n', begin);
    end = end == std::string::npos ? s.size() : end + 1;
    const std::string line = s.substr(begin, s.find_last_not_of(" \r\n", end - 1) + 1 - begin);
    const bool declaration = line.rfind("__kernel ", 0) == 0 && line.size() > 2 &&
                             line.compare(line.size() - 2, 2, ");") == 0 && line.find('{') == std::string::npos;
    if (!declaration) {
      out.append(s, begin, end - begin);
    }
    begin = end;
  }
  return out;
}

}  // namespace

std::map<std::string, std::string> split_kernels(const std::string& source) {
  std::map<std::string, std::string> parts;
  size_t at = source.find(kMark);
  const std::string head = at == std::string::npos ? "" : source.substr(0, at);
  while (at != std::string::npos) {
    const size_t begin = at + std::strlen(kMark);
    const size_t end = source.find('\n', begin);
    if (end == std::string::npos) {
      break;
    }
    at = source.find(kMark, end);
    const std::string name = last_word(source.substr(begin, end - begin));
    parts[name] = head + strip_declarations(source.substr(end + 1, at == std::string::npos ? at : at - end - 1));
  }
  return parts;
}

std::vector<Access> parameter_access(const std::string& source, const std::string& name, size_t n_args) {
  std::vector<Access> access(n_args, Access::kWrite);
  std::string parameters, body;
  if (!find_definition(strip_comments(source), name, &parameters, &body)) {
    return access;
  }
  const std::vector<std::string> list = split_top(parameters, ',');
  if (list.size() != n_args) {
    return access;
  }
  for (size_t i = 0; i < n_args; ++i) {
    if (list[i].find('*') != std::string::npos && only_loads(body, last_word(list[i]))) {
      access[i] = Access::kRead;
    }
  }
  return access;
}

std::string replace_bool_parameters(const std::string& source) {
  std::string out = source;
  for (size_t i = find_word(out, "__kernel", 0); i != std::string::npos; i = find_word(out, "__kernel", i + 1)) {
    const size_t open = out.find('(', i);
    size_t close = open == std::string::npos ? open : closing(out, open);
    if (close == std::string::npos) {
      break;
    }
    for (size_t b = find_word(out, "bool", open); b < close; b = find_word(out, "bool", b + 1)) {
      out.replace(b, 4, "uchar");
      close += 1;
    }
  }
  return out;
}

}  // namespace coexec
