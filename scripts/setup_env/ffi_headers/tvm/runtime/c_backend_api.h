#pragma once

extern "C" int TVMBackendRegisterEnvCAPI(const char* name, void* f);
