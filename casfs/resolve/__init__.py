"""What comes from elsewhere: uv finds out which wheels a name stands for, builds what is no wheel yet, and downloads bring them here.

casfs has no resolver of its own. uv is run as its users run it: its environment variables, configuration files, netrc and keyring count,
and what pip's users have configured is translated where uv does not read it itself (`configured`). Requirements files are read by casfs
alone (`casfs.lockfiles.requirements`), and their hashes compared by it: uv resolves without a look at them. Downloads are done by
requests, since uv keeps no wheel as a file: proxies and netrc are those of every program that uses requests, certificates and credentials
those of uv.
"""
