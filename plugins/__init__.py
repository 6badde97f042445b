"""The bundled plugins, installed as ``msl_network_plugins``.

Each is one file and imports only ``msl_network``: what they can do, a plugin of yours can.
"""
