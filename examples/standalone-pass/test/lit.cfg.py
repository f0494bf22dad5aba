import lit.formats

config.name = "parameter-share"
config.test_format = lit.formats.ShTest(False)
config.suffixes = [".mlir"]
config.test_source_root = config.source_dir
config.environment["FILECHECK_OPTS"] = "-enable-var-scope --allow-unused-prefixes=false"
config.substitutions += [("%plugin", config.plugin), ("ns-opt", config.ns_opt)]
