"""The load on a Manager, on the wire: a generator in C plays all Services and Clients: see `__main__`.

Rule of this package: it measures any Manager that speaks the protocol, by its address alone. It must not know how a
Manager is started; ``python -m benchmarks`` does.
"""
