"""What the control plane's processes are told from outside: environment variables, all named `HMS_*`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from hms_svc.address import SettingsError, TlsFiles, redis_address


def _database(url: str) -> str:
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        # Without the URL: it holds a password.
        raise ValueError("must be a postgresql:// URL") from None
    return url


def _broker(url: str) -> str:
    if "+" in url.partition("://")[0]:
        try:
            redis_address("HMS_REDIS_URL", url)
        except SettingsError as error:
            raise ValueError(str(error)) from None
    return url


class Settings(BaseSettings):
    """Settings of `hms-mgt api`, `worker`, `migrate` and `token`. Each field is the variable `HMS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HMS_", extra="ignore")

    database_url: Annotated[str, AfterValidator(_database)] = Field(
        description="postgresql:// URL; the login must be able to become hms_app"
    )
    redis_url: Annotated[str, AfterValidator(_broker)] = Field(
        default="redis://127.0.0.1:6379/0", description="the broker; the same URLs as the sidecars take"
    )
    tls_ca: Path | None = Field(default=None, description="CAs that Redis is verified with, besides the system's (PEM)")
    tls_cert: Path | None = Field(default=None, description="our certificate, for a Redis that asks for one (PEM)")
    tls_key: Path | None = Field(default=None, description="its key, where the certificate's file does not hold it")
    gov_url: str = Field(default="http://127.0.0.1:8081", description="the governance service")
    keys: Path = Field(default=Path("keys"), description="directory with mgt.key and trust.json")
    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="port the API listens on")
    trusted_proxies: str = Field(default="", description="addresses or networks whose X-Forwarded-For is believed")
    orchestrator: Literal["none", "local"] = Field(default="none", description="who starts and stops instances")
    data: Path = Field(default=Path("hms-data"), description="where the local orchestrator keeps its instances")
    mgt_url: str = Field(default="", description="the API's URL as the local orchestrator's sidecars reach it")
    oidc: Path | None = Field(default=None, description="file that names the issuers of tokens and what they are for")
    rate_per_token: float = Field(default=200, gt=0, description="requests a second of one token, in each replica")
    rate_per_tenant: float = Field(default=1000, gt=0, description="requests a second of one tenant, in each replica")
    rate_failed_auth: float = Field(default=20, gt=0, description="refused credentials a second from one address")
    audit_witness: Path | None = Field(default=None, description="file that keeps the audit's signed ends, outside")
    progress_deadline_s: float = Field(default=120, gt=0, description="a rollout not confirmed by then is halted")

    @property
    def tls(self) -> TlsFiles:
        """The three files of TLS together."""
        return TlsFiles(*(str(path) if path else "" for path in (self.tls_ca, self.tls_cert, self.tls_key)))
