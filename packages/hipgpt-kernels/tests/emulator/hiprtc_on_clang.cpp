/*
A libhiprtc.so for machines without ROCm: each call does what HIP's runtime compiler does, by running
a plain clang++ (HIPGPT_CLANG) on files in a folder of its own. So the code that asks hiprtc, and
hip-python's binding of it, run to the end; what ROCm's own compiler makes of the sources is not shown.
*/

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fs = std::filesystem;
using hiprtcResult = int;
enum : hiprtcResult { SUCCESS = 0, PROGRAM_CREATION_FAILURE = 2, INVALID_INPUT = 3, COMPILATION = 6 };

struct Program {
    fs::path folder;
    std::string name, log, code;
};

static std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

EXPORT hiprtcResult hiprtcCreateProgram(Program** program, const char* source, const char* name, int count,
                                        const char* const* headers, const char* const* names) {
    if (!program || !source || !name) return INVALID_INPUT;
    char pattern[] = "/tmp/hiprtc-XXXXXX";
    if (!mkdtemp(pattern)) return PROGRAM_CREATION_FAILURE;
    *program = new Program{pattern, name, "", ""};
    std::ofstream((*program)->folder / name) << source;
    for (int i = 0; i < count; i++) {
        fs::path path = (*program)->folder / names[i];
        fs::create_directories(path.parent_path());
        std::ofstream(path) << headers[i];
    }
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcCompileProgram(Program* program, int count, const char* const* options) {
    const char* clang = std::getenv("HIPGPT_CLANG");
    std::string command = std::string(clang ? clang : "clang++") +
                          " -x hip -nogpuinc -nogpulib --offload-device-only --no-gpu-bundle-output";
    for (int i = 0; i < count; i++) command += std::string(" '") + options[i] + "'";
    fs::path code = program->folder / "code", log = program->folder / "log";
    command += " -o '" + code.string() + "' '" + (program->folder / program->name).string() + "' > '" +
               log.string() + "' 2>&1";
    const int status = std::system(command.c_str());
    program->log = contents(log);
    if (status != 0) return COMPILATION;
    program->code = contents(code);
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcGetProgramLogSize(Program* program, size_t* size) {
    *size = program->log.size() + 1;
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcGetProgramLog(Program* program, char* log) {
    std::memcpy(log, program->log.c_str(), program->log.size() + 1);
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcGetCodeSize(Program* program, size_t* size) {
    *size = program->code.size();
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcGetCode(Program* program, char* code) {
    std::memcpy(code, program->code.data(), program->code.size());
    return SUCCESS;
}

EXPORT hiprtcResult hiprtcDestroyProgram(Program** program) {
    if (!program || !*program) return INVALID_INPUT;
    fs::remove_all((*program)->folder);
    delete *program;
    *program = nullptr;
    return SUCCESS;
}
