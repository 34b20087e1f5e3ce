"""Ground truth for the machine of several streams: a loop over a heap of times, without simpy.

Host, streams and transfers are generators that yield what they wait for, as a question (a start with its rank). At
every time the questions are asked until none is answered: ends first, then starts in the order of launching.
Plays graphs of one-kernel passes under host control, on tiers that tell the keys of the kernels that ended.
"""

import heapq
from collections import defaultdict

from speedsim.program import Cancel, Host, Issue, Move, Wait


class Loop:
    """`times` in ps: turnaround, call, start, stream_gap, node_gap, host; `transfer`: number of tokens to ps."""
    def __init__(self, devices, work_of, transfer, **times):
        self.__dict__.update(times, devices=devices, work_of=work_of, transfer=transfer)
        self.now, self.launched, self.times, self.tasks = 0, 0, [0], []
        self.over, self.began, self.ended, self.units, self.queues = {}, {}, {}, {}, {}
        self.needs, self.at, self.roads, self.carried = {}, {}, defaultdict(list), {}

    def play(self, program):
        """{pass: (start, end)} of the passes that ran."""
        self.spawn(self.drive(program))
        while self.times:
            self.now = heapq.heappop(self.times)
            while any([self.collect(d) for d in self.devices] + [self.step(t) for t in self.tasks[:] if not t[2]]) or \
                    any(self.step(t) for t in sorted(self.tasks, key=lambda t: t[2]) if t[2]):
                pass
        return {number: (self.began[number], self.ended[number]) for number in self.ended}

    def spawn(self, task):
        self.tasks.append([task, next(task), 0])

    def step(self, entry):
        if not entry[1]():
            return False
        told = next(entry[0], None)
        entry[1:] = told if isinstance(told, tuple) else (told, 0)
        return told or self.tasks.remove(entry) or True

    def until(self, time, dropped=None):
        heapq.heappush(self.times, time)
        return lambda: self.now >= time or dropped in self.over

    def collect(self, device):
        end = device.next_end()
        ended = device.advance(end) if end is not None and end <= self.now else []
        self.ended |= dict.fromkeys(ended, end)
        self.over |= dict.fromkeys(ended, end)
        return ended and self.until(device.next_end() or end)

    def drive(self, program):
        answer = yield self.until(0)
        try:
            while True:
                command, answer = program.send(answer), frozenset()
                if isinstance(command, Issue):
                    item = command.item
                    moved = [self.carried.get((row.token, item.device)) for row in item.rows]
                    self.needs[item.id] = [*item.after, *filter(None, moved)]
                    self.units.setdefault((item.device, item.stream), []).append(item)
                    self.at.update({row.token: (item.device, item.id) for row in item.rows})
                elif isinstance(command, Cancel) and command.id not in self.began:
                    self.over.setdefault(command.id, self.now)
                    left = {on: [i for i in unit if i.id != command.id] for on, unit in self.units.items()}
                    self.units = {on: unit for on, unit in left.items() if unit}
                elif isinstance(command, Move):
                    (token,), key = command.tokens, (command, len(self.carried))
                    self.spawn(self.carry((self.at[token][0], command.device), self.at[token][1], key))
                    self.at[token], self.carried[token, command.device] = (command.device, key), key
                elif isinstance(command, Host):
                    yield from self.launch()
                    yield self.until(self.now + self.host * command.items)
                elif isinstance(command, Wait):
                    yield from self.launch()
                    wanted = [n for n in command.passes if n in self.ended or n not in self.over]
                    quorum = any if command.any and wanted else all
                    yield lambda q=quorum, w=wanted: q(n in self.over for n in w)
                    yield self.until((woke := self.now) + self.turnaround)
                    answer = frozenset(n for n in wanted if self.ended.get(n, woke + 1) <= woke)
        except StopIteration:
            yield from self.launch()

    def launch(self):
        while self.units:
            on, call = next(iter(self.units)), {"host": self.now, "begun": False}
            if on not in self.queues:
                self.spawn(self.stream(on[0], self.queues.setdefault(on, [])))
            unit = self.units.pop(on)
            self.queues[on] += [(self.launched + 1 + i, item, call) for i, item in enumerate(unit)]
            self.launched += len(unit)
            yield self.until(self.now + self.call)

    def stream(self, device, queue):
        free = 0
        while True:
            yield lambda: queue
            rank, item, unit = queue.pop(0)
            if item.id in self.over:
                continue
            needs = self.needs[item.id]
            yield lambda i=item.id, needs=needs: i in self.over or all(n in self.over for n in needs)
            ready = max([free, unit["host"], *(self.over.get(n, 0) for n in needs)])
            first = max(unit["host"] + self.call + self.start, ready + self.stream_gap)
            yield self.until(ready + self.node_gap if unit["begun"] else first, item.id), rank
            if item.id not in self.over:
                self.began[item.id], unit["begun"] = self.now, True
                self.devices[device].start(item.id, self.work_of(item), self.now)
                self.until(self.devices[device].next_end())
                yield lambda i=item.id: i in self.ended
            free = self.now

    def carry(self, road, need, key):
        yield lambda: need in self.over
        self.roads[road].append(key)
        yield lambda: self.roads[road][0] == key
        yield self.until(self.now + self.transfer(1))
        self.roads[road].pop(0)
        self.over[key] = self.now
