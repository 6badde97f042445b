"""Scripts as the documentation of 1.0 shows them: they run with its package, and with ours after a word is changed.

``Lab.script`` changes the word: ``msl.network`` into ``msl_network``, and ``msl.examples.network`` into
``msl_network.examples``. Scripts of one laboratory run on one computer, as one person, if nothing else is said.
"""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from .lab import PACKAGES, RUNNING, Lab, PeerError, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .lab import Client, Process

DEFAULT_PORT = 1875

pytestmark = pytest.mark.parametrize("package", PACKAGES)


def wait_for_services(lab: Lab, script: Process, *names: str, **keywords: Any) -> None:
    """Returns when the Manager has accepted these Services of a script; who has asked it is gone then."""
    observer = lab.notebook(clients="theirs", name="observer", **keywords)

    def are_there() -> bool:
        assert script.is_running(), script.transcript
        there: bool = observer.run(f"""
try:
    cxn = connect(**kwargs)
except ConnectionError:
    there = []
else:
    there = sorted(cxn.identities()['services'])
    cxn.disconnect()
there == {sorted(names)}
""")
        return there

    eventually(are_there)
    lab.end(observer)


def lines(script: Process) -> list[str]:
    """What a script has written until its end, which must be a good one."""
    assert script.wait() == 0, script.transcript
    return script.transcript.splitlines()


BASIC_MATH = """
from msl.examples.network import BasicMath

service = BasicMath()
service.start(port=1875)
"""

QUICK_BASIC_MATH = f"""
import time

sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 100)
{BASIC_MATH}"""

ASYNCHRONOUS = """
import time
from concurrent.futures import as_completed

from msl.network import connect

cxn = connect(port=1875)
while 'BasicMath' not in cxn.identities()['services']:
    time.sleep(0.1)
bm = cxn.link('BasicMath')

futures = {
    bm.power(2, 4, asynchronous=True): 'power',
    bm.ensure_positive(-1, asynchronous=True): 'ensure_positive',
    bm.divide(1, 2, asynchronous=True): 'divide',
    bm.multiply(1, 2, asynchronous=True): 'multiply',
    bm.subtract(1, 2, asynchronous=True): 'subtract',
    bm.add(1, 2, asynchronous=True): 'add',
}
for future in as_completed(futures):
    try:
        print(futures[future], '=', future.result())
    except RuntimeError as error:
        print(futures[future], '!', 'ValueError: The value is < 0' in str(error))

cxn.disconnect()
"""

SYNCHRONOUS = """
from msl.network import connect

cxn = connect(port=1875)
bm = cxn.link('BasicMath')

print('power =', bm.power(2, n=4))
print('ensure_positive =', bm.ensure_positive(1))
try:
    bm.ensure_positive(-1)
except RuntimeError as error:
    print('ensure_positive !', 'ValueError: The value is < 0' in str(error))
print('divide =', bm.divide(1, 2))
print('multiply =', bm.multiply(1, 2))
print('subtract =', bm.subtract(1, y=2))
print('add =', bm.add(1, 2))
print('euler =', bm.euler())
print('pi =', bm.pi())
print(bm.service_attributes['euler'], bm.service_attributes['pi'])

cxn.disconnect()
"""


@pytest.fixture(scope="module")
def asynchronous(tmp_path_factory: pytest.TempPathFactory, implementation: str) -> Iterator[dict[str, Process]]:
    """The asynchronous script of both packages, in two laboratories at once because it takes six seconds."""
    scripts = {}
    with ExitStack() as stack:
        for package in PACKAGES:
            lab = stack.enter_context(Lab(tmp_path_factory.mktemp("basic-math"), implementation))
            lab.start_with()
            lab.script("basic_math.py", BASIC_MATH, package)
            scripts[package] = lab.script("asynchronous.py", ASYNCHRONOUS, package)
        yield scripts


def test_asynchronous(asynchronous: dict[str, Process], package: str) -> None:
    """Requests run side by side: one of a second is done before one of six that was made first."""
    assert lines(asynchronous[package]) == [
        "add = 3",
        "subtract = -1",
        "multiply = 2",
        "divide = 0.5",
        "ensure_positive ! True",
        "power = 16",
    ]


def test_synchronous(lab: Lab, package: str) -> None:
    """Requests come back one after the other; a property and a constant are requested in the same way."""
    lab.start_with()
    service = lab.script("basic_math.py", QUICK_BASIC_MATH, package)
    wait_for_services(lab, service, "BasicMath")
    assert lines(lab.script("synchronous.py", SYNCHRONOUS, package)) == [
        "power = 16",
        "ensure_positive = True",
        "ensure_positive ! True",
        "divide = 0.5",
        "multiply = 2",
        "subtract = -1",
        "add = 3",
        "euler = 2.718281828459045",
        "pi = 3.141592653589793",
        "2.718281828459045 3.141592653589793",
    ]


ECHO_AND_ARRAY = """
import sys
from threading import Thread

from msl.examples.network import Echo, MyArray

services = [Echo(), MyArray()]
threads = [Thread(target=service.start, kwargs={'port': 1875}) for service in services]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print('over')
"""

USE_ECHO_AND_ARRAY = """
from msl.network import connect

cxn = connect(port=1875)
echo = cxn.link('Echo')
args, kwargs = echo.echo(1, 2, x='hello', y='world')
print(args, kwargs)
my_array = cxn.link('MyArray')
linspace = my_array.linspace(0, 1, n=5)
print(linspace, my_array.scalar_multiply(2, linspace))
cxn.disconnect()
"""


def test_echo_and_array(lab: Lab, package: str) -> None:
    """The other examples echo and calculate; Services may be started in threads of one process."""
    manager = lab.start_with()
    services = lab.script("echo_and_array.py", ECHO_AND_ARRAY, package)
    wait_for_services(lab, services, "Echo", "MyArray")
    assert lines(lab.script("use.py", USE_ECHO_AND_ARRAY, package)) == [
        "[1, 2] {'x': 'hello', 'y': 'world'}",
        "[0.0, 0.25, 0.5, 0.75, 1.0] [0.0, 0.5, 1.0, 1.5, 2.0]",
    ]
    manager.kill()
    assert lines(services)[-1] == "over"


HEARTBEAT = """
from msl.examples.network import Heartbeat

service = Heartbeat()
service.add_tasks(service.emit())
service.start(port=1875)
print('over')
"""

LISTEN = """
import types

from msl.network import connect


def show(self, *args, **kwargs):
    print('The', self.service_name, 'emitted', args, kwargs, flush=True)


cxn = connect(port=1875)
heartbeat = cxn.link('Heartbeat')
heartbeat.notification_handler = types.MethodType(show, heartbeat)
heartbeat.set_heart_rate(50)
input()
heartbeat.reset()
input()
heartbeat.kill()
cxn.disconnect()
print('over')
"""


def test_heartbeat(lab: Lab, package: str) -> None:
    """A task in the Service's event loop emits numbers, that a link hears one by one until it is told to stop."""
    manager = lab.start_with()
    service = lab.script("heartbeat.py", HEARTBEAT, package)
    wait_for_services(lab, service, "Heartbeat")
    listener = lab.script("listen.py", LISTEN, package)

    def beat(pattern: str = "") -> int:
        match = re.fullmatch(r"The Heartbeat emitted \((\d+),\) {}", listener.read(pattern))
        assert match
        return int(match[1])

    first = beat()
    assert [beat(), beat()] == [first + 1, first + 2]
    listener.write("")
    assert [beat(r"\(0,\)"), beat(), beat()] == [0, 1, 2]
    listener.write("")
    assert lines(listener)[-1] == "over"
    manager.kill()
    assert lines(service)[-1] == "over"


INTERRUPTED = """
import signal

from msl.network import Service

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it may be ignored


class Lamp(Service):
    def shutdown_handler(self):
        print('off')


Lamp().start(port=1875)
print('over')
"""


def test_interrupted_service(lab: Lab, package: str) -> None:
    """Ctrl+C ends a Service: ``start`` returns as if the Manager had ended, and the script goes on."""
    lab.start_with()
    service = lab.script("lamp.py", INTERRUPTED, package)
    wait_for_services(lab, service, "Lamp")
    service.interrupt()
    assert lines(service) == ["off", "over"]


SHUTDOWNABLE = """
from msl.network import Service, run_services

class AddService(Service):

    def add(self, a, b):
        return a + b

    def shutdown_service(self, *args, **kwargs):
        # do whatever you need to do before the AddService shuts down
        # return whatever you want
        return True

class SubtractService(Service):

    def subtract(self, a, b):
        return a - b

    def shutdown_service(self, *args, **kwargs):
        # do whatever you need to do before the SubtractService shuts down
        # return whatever you want
        return 'Success!'

run_services(AddService(), SubtractService())
"""

SHUT_DOWN = """
from msl.network import connect

cxn = connect()
a = cxn.link('AddService')
s = cxn.link('SubtractService')
assert a.add(1, 2) == 3
assert s.subtract(1, 2) == -1
a.shutdown_service()
s.shutdown_service()
"""


def test_run_services(lab: Lab, package: str) -> None:
    """The scripts of the reference run as they are printed there, to the letter; both end when the Services do.

    They name no port. Where somebody else has the default one, another port is written into them.
    """
    scripts = SHUTDOWNABLE, SHUT_DOWN
    try:
        socket.create_server(("", DEFAULT_PORT)).close()
    except OSError:
        scripts = (
            SHUTDOWNABLE.replace("e())\n", "e(), port=1875)\n"),
            SHUT_DOWN.replace("connect()", "connect(port=1875)"),
        )
    else:
        lab.port = lab.keywords["port"] = DEFAULT_PORT
    services = lab.script("shutdownable_example.py", scripts[0], package)
    wait_for_services(lab, services, "AddService", "SubtractService")
    # a Client of 1.0 may log that the Manager has ended, before its own program has
    assert lines(lab.script("client.py", scripts[1], package)) == [] or package == "theirs"
    assert services.wait() == 0
    assert RUNNING in services.transcript


def test_run_services_with_a_password(lab: Lab, package: str) -> None:
    """``run_services`` hands ``auth_password`` to Manager and Services, and other keywords to whom they are for."""
    with_password = "run_services(AddService(), SubtractService(), port=1875, auth_password='abc', log_level='ERROR'"
    services = lab.script(
        "password.py",
        SHUTDOWNABLE.replace("run_services(AddService(), SubtractService()", f"{with_password}, timeout=15"),
        package,
    )
    wait_for_services(lab, services, "AddService", "SubtractService", password_manager="abc")
    refused = lab.script("refused.py", SHUT_DOWN.replace("()\na", "(port=1875, password_manager='abd')\na"), package)
    assert refused.wait() == 1
    assert "ValueError: Wrong Manager password" in refused.transcript
    client = lab.script("client.py", SHUT_DOWN.replace("()\na", "(port=1875, password_manager='abc')\na"), package)
    # a Client of 1.0 may log that the Manager has ended, before its own program has
    assert lines(client) == [] or package == "theirs"
    assert services.wait() == 0


PUMP = """
from msl.network import Service, run_services


class Pump(Service):
    def flow(self, litres):
        if litres > 10:
            raise OverflowError('the tank is full')
        return litres

    def shutdown_service(self):
        print('valve closed')


run_services(Pump(name='Pump 2', max_clients=1), port=1875)
"""

OPERATE = """
from msl.network import LinkedClient


class Operator(LinkedClient):
    def __init__(self, pump, **kwargs):
        super().__init__(f'Pump {pump}', **kwargs)
        self.tidied = False

    def service_error_handler(self):
        self.tidied = True
        self.disconnect()

    def disconnect(self):
        self.shutdown_service()
        super().disconnect()


operator = Operator(2, port=1875)
print(operator.name, operator.service_name, operator.flow(3), operator.tidied)
try:
    operator.flow(litres=11)
except RuntimeError as error:
    print('OverflowError: the tank is full' in str(error))
print(operator.tidied, operator.is_connected(), operator.service_name)
"""


def test_linked_client_that_shuts_down(lab: Lab, package: str) -> None:
    """A LinkedClient with a ``disconnect`` of its own shuts Service and Manager down when an error occurs."""
    service = lab.script("pump.py", PUMP, package)
    wait_for_services(lab, service, "Pump 2")
    operator = lab.script("operate.py", OPERATE, package)
    assert operator.read() == "Operator Pump 2 3 False"
    assert operator.read() == "True"
    assert operator.read() == "True False Pump 2"
    assert operator.wait() == 0
    assert service.wait() == 0
    assert "valve closed" in service.transcript


def test_linked_client_waits_for_its_service(lab: Lab, package: str) -> None:
    """A LinkedClient that is there before its Service waits for it, but no longer than its ``timeout``."""
    lab.start_with()
    notebook = lab.notebook(clients=package)
    notebook.submit("linked = LinkedClient('Late', **kwargs | {'timeout': 20}); linked.add(1, 2)")
    watcher = lab.client("watcher", clients="theirs")
    eventually(lambda: watcher.run("len(cxn.identities()['clients'])") == 2)
    lab.instruments("Late", services=package)
    assert notebook.result() == 3
    with pytest.raises(PeerError, match=r"^TimeoutError: .*Nobody"):
        notebook.run("LinkedClient('Nobody', **kwargs | {'timeout': 0.5})")


FORGETFUL = """
from msl.network import LinkedClient, connect

cxn = connect(port=1875)
echo = cxn.link('Echo')
print(echo.echo(1))
"""


def test_script_that_does_not_disconnect(lab: Lab, package: str) -> None:
    """A script that forgets to disconnect ends all the same, and takes its connections along.

    With 1.0 that is so for a Client, but a LinkedClient that is garbage-collected at exit waits for a thread that is
    gone; so that is left out for it.
    """
    lab.start_with()
    lab.instruments("Echo")
    linked = "linked = LinkedClient('Echo', port=1875)\nprint(linked.echo(2))\n" if package == "ours" else ""
    script = lab.script("forgetful.py", FORGETFUL + linked, package)
    assert lines(script) == ["[[1], {}]", "[[2], {}]"][: 2 if linked else 1]
    client = lab.client(clients="theirs")
    eventually(lambda: client.run("len(cxn.identities()['clients'])") == 1)


ASK = """
from msl.network import connect

try:
    cxn = connect(port=1875, password='correct')
except ConnectionRefusedError:
    print('\\nrefused')
else:
    print('\\nconnected', cxn.is_connected())
    cxn.disconnect()
"""


def test_script_on_another_computer(lab: Lab, package: str) -> None:
    """Somebody is asked whether to trust a Manager that is met for the first time, and who they are."""
    lab.add_user("ann", "correct")
    lab.start_with("--auth-login")
    elsewhere = lab.folder / "elsewhere"
    script = lab.script("ask.py", ASK, package, home=elsewhere)
    script.write("n")
    assert lines(script)[-1] == "refused"
    script = lab.script("ask.py", ASK, package, home=elsewhere)
    script.write("y")
    script.write("ann")
    assert lines(script)[-1] == "connected True"
    script = lab.script("ask.py", ASK, package, home=elsewhere)  # the certificate is known now
    script.write("ann")
    assert lines(script)[-1] == "connected True"


@pytest.fixture
def notebook(lab: Lab, package: str) -> Client:
    """A process that runs cells with a package, and no Manager."""
    return lab.notebook(clients=package)


CONNECT = {
    "name": "me",
    "host": "h",
    "port": 1,
    "timeout": 2.5,
    "username": "u",
    "password": "p",
    "password_manager": "m",
    "read_limit": 3,
    "disable_tls": True,
    "cert_file": "c",
    "assert_hostname": False,
    "auto_save": True,
}
RUN_FOREVER = {
    "host": "h",
    "port": 1,
    "auth_hostname": False,
    "auth_login": True,
    "auth_password": "a",
    "database": "d",
    "disable_tls": True,
    "cert_file": "c",
    "key_file": "k",
    "key_file_password": "f",
    "log_level": "DEBUG",
    "log_file": "l",
}


def test_filters(notebook: Client) -> None:
    """``filter_*_kwargs`` keep what is for whom; ``auth_password`` and ``password_manager`` are the same thing."""
    everything = RUN_FOREVER | CONNECT | {"nonsense": 0}
    for function in ("filter_client_connect_kwargs", "filter_service_start_kwargs"):
        assert notebook.run(f"network.{function}(**{everything})") == CONNECT
        assert notebook.run(f"network.{function}(auth_password='a', log_level=1)") == {"password_manager": "a"}
        assert notebook.run(f"network.{function}()") == {}
    assert notebook.run(f"network.filter_run_forever_kwargs(**{everything})") == RUN_FOREVER
    assert notebook.run("network.filter_run_forever_kwargs(password_manager='m', name=1)") == {"auth_password": "m"}
    assert notebook.run("network.filter_run_forever_kwargs()") == {}


def test_run_services_without_services(notebook: Client) -> None:
    """``run_services`` does nothing without a Service, and wants nothing but Services."""
    assert notebook.run("network.run_services()") is None
    with pytest.raises(PeerError, match=r"^TypeError: .*Service"):
        notebook.run("network.run_services(1)")
    eventually(lambda: re.search("no services have been specified|no Service,", "".join(notebook.errors)))


def test_nobody_there(notebook: Client) -> None:
    """Who cannot connect hears a ConnectionError."""
    with pytest.raises(PeerError, match=r"^ConnectionError: "):
        notebook.run("connect(**kwargs)")
    with pytest.raises(PeerError, match=r"^ConnectionError: (?s:.*)localhost:\d+"):
        notebook.run("connect(**kwargs | {'disable_tls': True})")
    with pytest.raises(PeerError, match=r"^ConnectionError: "):
        notebook.run("LinkedClient('Echo', **kwargs)")
    with pytest.raises(PeerError, match=r"^ConnectionError: "):
        notebook.run("network.Service().start(**kwargs)")


def test_port_as_text(lab: Lab, package: str) -> None:
    """The port may be a text, as from the command line, and a Client whose name is None is called Client."""
    lab.start_with()
    notebook = lab.notebook(clients=package)
    assert notebook.run("cxn = connect(**kwargs | {'port': str(kwargs['port']), 'name': None}); cxn.name") == "Client"
    assert [seen["name"] for seen in notebook.run("cxn.identities()")["clients"].values()] == ["Client"]
    lab.instruments("Echo", services=package, port=str(lab.port))
    assert notebook.run("cxn.link('Echo').add(1, 2)") == 3
