#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/util/tracklet_list.hpp"

namespace caffe {

namespace {

const char kHeader[] = "tracklet,pid,camid,query,frames";

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> fields(1);
  for (char c : text) {
    if (c == separator) {
      fields.push_back("");
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

int Integer(const std::string& text, const std::string& where) {
  char* end;
  const long value = std::strtol(text.c_str(), &end, 10);  // NOLINT(runtime/int)
  if (text.empty() || *end != '\0') {
    throw std::runtime_error(where + ": '" + text + "' must be an integer");
  }
  return static_cast<int>(value);
}

}  // namespace

std::vector<Tracklet> ReadTrackletList(const std::string& path) {
  std::ifstream stream(path.c_str());
  if (!stream) {
    throw std::runtime_error("there is no tracklet list " + path +
        ": write it with a program of data_prep/, and start from the repository's root");
  }
  std::string line;
  std::getline(stream, line);
  if (!line.empty() && line[line.size() - 1] == '\r') {
    line.erase(line.size() - 1);
  }
  if (line != kHeader) {
    throw std::runtime_error(path + " is no tracklet list: its first line must be " + kHeader);
  }
  std::vector<Tracklet> tracklets;
  std::map<std::string, int> lines;  // of each name
  int frames = 0;
  for (int number = 2; std::getline(stream, line); ++number) {
    if (!line.empty() && line[line.size() - 1] == '\r') {
      line.erase(line.size() - 1);
    }
    std::ostringstream where;
    where << path << " line " << number;
    const std::vector<std::string> fields = Split(line, ',');
    if (fields.size() != 5) {
      std::ostringstream text;
      text << where.str() << " has " << fields.size() << " fields, not the 5 of " << kHeader;
      throw std::runtime_error(text.str());
    }
    Tracklet tracklet = {fields[0], Integer(fields[1], where.str()), Integer(fields[2], where.str()),
        std::vector<std::string>(), frames};
    for (const std::string& frame : Split(fields[4], ';')) {
      if (!frame.empty()) {
        tracklet.frames.push_back(frame);
      }
    }
    if (tracklet.camid < 0 || (fields[3] != "0" && fields[3] != "1")) {
      throw std::runtime_error(where.str() + ": camid counts from 0 and query is 0 or 1, not " + fields[2] + " and '" +
          fields[3] + "'");
    }
    if (tracklet.frames.empty()) {
      throw std::runtime_error(where.str() + ": tracklet " + tracklet.name + " has no frames; remove the row");
    }
    if (lines.count(tracklet.name)) {
      std::ostringstream text;
      text << where.str() << " repeats tracklet " << tracklet.name << " of line " << lines[tracklet.name]
          << ": remove one of them";
      throw std::runtime_error(text.str());
    }
    lines[tracklet.name] = number;
    frames += tracklet.frames.size();
    tracklets.push_back(tracklet);
  }
  if (tracklets.empty()) {
    throw std::runtime_error(path + " lists no tracklet: write it anew with a program of data_prep/");
  }
  return tracklets;
}

std::vector<float> ReadJoints(const std::string& path, int frames) {
  std::ifstream stream(path.c_str(), std::ios::binary);
  if (!stream) {
    throw std::runtime_error("there is no joints file " + path + ": write it with data_prep/");
  }
  // .npy: magic, version, length of the header (2 bytes in version 1, 4 later), header, values
  unsigned char start[8] = {0}, length_bytes[4] = {0};
  stream.read(reinterpret_cast<char*>(start), 8);
  const bool npy = std::memcmp(start, "\x93NUMPY", 6) == 0;
  stream.read(reinterpret_cast<char*>(length_bytes), start[6] == 1 ? 2 : 4);
  const size_t length = length_bytes[0] + 256u * (length_bytes[1] + 256u * (length_bytes[2] + 256u * length_bytes[3]));
  std::string header(npy && length < 65536 ? length : 0, ' ');
  stream.read(&header[0], header.size());
  std::ostringstream shape;
  shape << "'shape': (" << frames << ", " << kJoints << ", 3)";
  if (!stream || header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos || header.find(shape.str()) == std::string::npos) {
    std::ostringstream text;
    text << path << " is not the joints file of its list, float32 of shape (" << frames << ", " << kJoints
        << ", 3): write both anew with data_prep/";
    throw std::runtime_error(text.str());
  }
  std::vector<float> joints(static_cast<size_t>(frames) * kJoints * 3);
  stream.read(reinterpret_cast<char*>(joints.data()), joints.size() * sizeof(float));
  if (!stream) {
    throw std::runtime_error(path + " is cut short: write it anew with data_prep/");
  }
  return joints;
}

}  // namespace caffe
