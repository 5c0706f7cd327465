from __future__ import annotations
import random
from typing import Generic, TypeVar
from attrs import define
L=TypeVar("L")
@define(eq=False)
class Connector(Generic[L]):
    id: object; tunnel: object; weight: int; link: L; peer: str=""; streams:int=0; requests:int=0
class TunnelRegistry(Generic[L]):
    def __init__(self): self.t={}
    def add(self,c): self.t.setdefault(c.tunnel,[]).append(c)
    def remove(self,c):
        if c in self.t.get(c.tunnel,[]): self.t[c.tunnel].remove(c)
    def choose(self,t,exclude=()):
        cs=self.t.get(t)
        if not cs: return None
        if len(cs)==1 and not exclude: return cs[0]
        cs=[c for c in cs if c not in exclude]
        if not cs: return None
        x=[c for c in cs if c.weight==255]
        if x: cs=x
        return random.choices(cs,[c.weight for c in cs])[0]
    def __iter__(self): return iter([c for v in self.t.values() for c in v])
