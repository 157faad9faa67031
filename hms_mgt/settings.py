"""What the control plane's processes are told from outside: environment variables, all named `HMS_*`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of `hms-mgt api`, `worker`, `migrate` and `token`. Each field is the variable `HMS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HMS_", extra="ignore")

    database_url: str = Field(description="postgresql:// URL; the login must be able to become hms_app")
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="the broker")
    gov_url: str = Field(default="http://127.0.0.1:8081", description="the governance service")
    keys: Path = Field(default=Path("keys"), description="directory with mgt.key and trust.json")
    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="port the API listens on")
    orchestrator: Literal["none", "local"] = Field(default="none", description="who starts and stops instances")
    data: Path = Field(default=Path("hms-data"), description="where the local orchestrator keeps its instances")
    mgt_url: str = Field(default="", description="the API's URL as the local orchestrator's sidecars reach it")
    progress_deadline_s: float = Field(default=120, gt=0, description="a rollout not confirmed by then is halted")
