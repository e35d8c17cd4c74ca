#!/usr/bin/env python3
"""Stands in the place of modelpress-trainer: runs the real one and passes on what it tells.

After a number of checkpoints it kills the real one and itself, or stops it until it is let go. So a test meets a trainer
in the middle of its work however fast the machine is.

  REAL_TRAINER   the program
  TRAINER_PLAN   a folder. "kill" or "hold" in it holds the number of checkpoints, for the next trainer alone (it becomes
                 "kill.taken" or "hold.taken"); without either the real one takes this process's place. "held" gets the
                 real one's process id; it goes on once there is a file "go".
"""
import os
import signal
import struct
import subprocess
import sys
import time

REAL = os.environ["REAL_TRAINER"]
FOLDER = os.environ["TRAINER_PLAN"]
# The last field of a TrainProgress (trainer.proto), saved = true.
SAVED = b"\x38\x01"


def take(name):
    path = os.path.join(FOLDER, name)
    try:
        os.rename(path, path + ".taken")
    except FileNotFoundError:
        return None
    with open(path + ".taken") as file:
        return int(file.read())


def hold(child):
    child.send_signal(signal.SIGSTOP)
    with open(os.path.join(FOLDER, "held.part"), "w") as file:
        file.write(str(child.pid))
    os.rename(os.path.join(FOLDER, "held.part"), os.path.join(FOLDER, "held"))
    while not os.path.exists(os.path.join(FOLDER, "go")):
        time.sleep(0.01)
    child.send_signal(signal.SIGCONT)


def main():
    until_killed, until_held = take("kill"), take("hold")
    if until_killed is None and until_held is None:
        os.execv(REAL, [REAL] + sys.argv[1:])
    child = subprocess.Popen([REAL] + sys.argv[1:], stdout=subprocess.PIPE, close_fds=False)
    checkpoints = 0
    while len(head := child.stdout.read(4)) == 4:
        body = child.stdout.read(struct.unpack("<I", head)[0])
        frame = head + body
        while frame:
            frame = frame[os.write(1, frame):]
        if not body.endswith(SAVED):
            continue
        checkpoints += 1
        if checkpoints == until_held:
            hold(child)
        if checkpoints == until_killed:
            child.kill()
            child.wait()
            os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(child.wait())


main()
