"""Room for bytes: never more than there is, nobody waits for ever, nothing is lost."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.service.room import Room


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=40), st.randoms())
def test_never_more_than_there_is(sizes: list[tuple[int, bool]], rng) -> None:  # type: ignore[no-untyped-def]
    async def scenario() -> None:
        room, inside, order = Room(100), [0], list[int]()

        async def use(k: int, size: int) -> None:
            taken = await room.take(size)
            order.append(k)
            inside[0] += taken
            assert inside[0] <= 100
            assert taken == min(size, 100)
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            inside[0] -= taken
            room.give(taken)

        tasks = []
        for k, (size, goes_away) in enumerate(sizes):
            tasks.append(asyncio.ensure_future(use(k, size)))
            await asyncio.sleep(0)
            if goes_away and k not in order:
                gone = tasks.pop()
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
        await asyncio.gather(*tasks)
        assert len(order) == len(set(order)) == len(tasks)
        assert await asyncio.wait_for(room.take(100), 5) == 100  # all of it is free again

    asyncio.run(scenario())


def test_a_turn_that_came_as_its_owner_went_is_not_lost() -> None:
    async def scenario() -> None:
        room = Room(10)
        await room.take(10)
        waiting = asyncio.ensure_future(room.take(5))
        await asyncio.sleep(0)
        room.give(10)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await asyncio.wait_for(room.take(10), 5) == 10

    asyncio.run(scenario())
