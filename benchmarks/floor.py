"""The floor that `POST /api/patch` is measured against: FastAPI, a JSON body, one INSERT, one commit.

It checks nothing, knows nobody and forgets nothing that it was told; nothing that stores a request durably does less.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import create_async_engine

metadata = MetaData()
floor = Table(
    "benchmark_floor",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("document", JSONB, nullable=False),
)
engine = create_async_engine(os.environ["FLOOR_DATABASE_URL"], pool_size=10, max_overflow=10)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the table first."""
    async with engine.begin() as tx:
        await tx.run_sync(metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/api/patch", status_code=202)
async def store(document: dict[str, Any]) -> dict[str, Any]:
    """Store a document and return its id."""
    async with engine.begin() as tx:
        added = await tx.execute(insert(floor).values(document=document).returning(floor.c.id))
        return {"patch_id": added.scalar_one(), "status": "QUEUED"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["FLOOR_PORT"]), log_level="warning", access_log=False)
