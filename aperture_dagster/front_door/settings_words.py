"""What settings are called on their page, which of them people change first, and what a change does.

A setting without a label fails a test. Its description is the sentence beside its declaration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aperture_dagster.texts import marked

FIRST: Sequence[str] = (
    "libraries", "include_users", "exclude_users", "timezone", "country", "tmdb_language", "schedules", "quiet_hours",
    "tmdb_api_key", "omdb_api_key", "mdblist_api_key", "embedder", "publish", "publish_root", "publish_as", "seerr_url",
    "seerr_api_key", "alert_urls",
)  # fmt: skip
"""What people change first, in this order."""
GROUPS: Mapping[str, str] = {
    "HomeSettings": marked("This machine"),
    "UiSettings": marked("Pages and Dagster's UI"),
    "RunSettings": marked("Times and retries"),
    "AlertSettings": marked("Messages"),
    "MediaServerSettings": marked("Media server"),
    "EnrichmentSettings": marked("Facts about titles"),
    "EmbedderSettings": marked("Embeddings"),
    "PricesSettings": marked("Prices of AI models"),
    "RecommendationSettings": marked("Recommendations"),
    "TopPicksSettings": marked("Top Picks"),
    "WatchingSettings": marked("Shows you watch"),
    "PublishingSettings": marked("Publishing on the media server"),
    "DiscoverySettings": marked("Titles that are not in the library"),
    "SeerrSettings": marked("Requests through Seerr"),
    "TraktSettings": marked("Ratings and Trakt"),
    "BackupSettings": marked("Backups"),
    "HousekeepingSettings": marked("How long things are kept"),
}
"""Headings, by the class of a group."""
LABELS: Mapping[str, str] = {
    "home": marked("Folder for everything"),
    "database_url": marked("Other database"),
    "secret_key": marked("Key that encrypts tokens"),
    "session_key": marked("Key that signs sessions"),
    "ui_host": marked("Address to listen on"),
    "ui_port": marked("Port"),
    "ui_allowed_hosts": marked("Further names of these pages"),
    "ui_trusted_proxies": marked("Trusted proxies"),
    "ui_empty_passwords": marked("Sign in without a password at home"),
    "timezone": marked("Time zone"),
    "schedules_enabled": marked("Jobs start by the clock"),
    "schedules": marked("When jobs start"),
    "quiet_hours": marked("Quiet hours"),
    "http_attempts": marked("Attempts per request"),
    "http_retry_wait_seconds": marked("Wait before the second attempt, in seconds"),
    "step_retries": marked("Retries of a step"),
    "step_retry_wait_seconds": marked("Wait before a step is retried, in seconds"),
    "alert_urls": marked("Where problems are reported"),
    "alert_ui_url": marked("Address of these pages in messages"),
    "media_server_url": marked("Address of the media server"),
    "media_server_public_url": marked("Address for members' browsers"),
    "media_server_type": marked("Type of the media server"),
    "media_server_api_key": marked("API key of the media server"),
    "media_server_ca_file": marked("Certificate authority of the media server"),
    "media_server_verify_tls": marked("Verify the media server's certificate"),
    "media_server_headers": marked("Headers for the proxy before the media server"),
    "libraries": marked("Libraries to read"),
    "exclude_libraries": marked("Libraries to leave out"),
    "include_users": marked("Users who take part"),
    "exclude_users": marked("Users who do not take part"),
    "user_emails": marked("E-mail addresses of users"),
    "media_server_timeout_seconds": marked("Time limit of a request, in seconds"),
    "tmdb_api_key": marked("Key of TMDb"),
    "tmdb_url": marked("Address of TMDb"),
    "tmdb_image_url": marked("Address of TMDb's images"),
    "tmdb_language": marked("Language of titles and texts"),
    "tmdb_requests": marked("Requests to TMDb per 10 seconds"),
    "set_studio_pictures": marked("Set studios' pictures on the media server"),
    "omdb_api_key": marked("Key of OMDb"),
    "omdb_url": marked("Address of OMDb"),
    "omdb_daily_limit": marked("Requests to OMDb per day"),
    "mdblist_api_key": marked("Key of MDBList"),
    "mdblist_url": marked("Address of MDBList"),
    "embedder": marked("Embedder"),
    "embedder_model": marked("Model of the embedder"),
    "embedder_url": marked("Address of the embeddings endpoint"),
    "embedder_api_key": marked("Key of the embeddings endpoint"),
    "prices_url": marked("Price list of AI models"),
    "embedder_price": marked("Price of the embedder, in US dollars per million tokens"),
    "crowd_url": marked("Address of public histories"),
    "recommendations_movies": marked("How lists of films are made"),
    "recommendations_series": marked("How lists of series are made"),
    "top_picks_movies": marked("How Top Picks of films are made"),
    "top_picks_series": marked("How Top Picks of series are made"),
    "shows_you_watch_minimum_episodes": marked("Episodes that somebody must have played"),
    "shows_you_watch_days": marked("Days until a series is no longer listed"),
    "shows_you_watch_ended_days": marked("Days until an ended series is no longer listed"),
    "publish": marked("Publish lists on the media server"),
    "publish_root": marked("Folder for published libraries"),
    "path_map": marked("Folders as the media server sees them"),
    "publish_as": marked("How titles refer to the originals"),
    "publish_strict_access": marked("Nobody finds the libraries of others"),
    "publish_reasons": marked("Where the page of a title says why"),
    "publish_lists": marked("What is published"),
    "publish_names": marked("Names of published lists"),
    "country": marked("Country"),
    "discovery_per_list": marked("Suggestions per user"),
    "discovery_only_available": marked("Only what can be watched at home"),
    "discovery_minimum_votes": marked("Votes that a suggestion needs"),
    "discovery_exclude_genres": marked("Genres that are never suggested"),
    "discovery_other_languages": marked("Share that another language needs"),
    "seerr_url": marked("Address of Seerr"),
    "seerr_api_key": marked("Key of Seerr"),
    "requests_per_week": marked("Requests per user and week"),
    "trakt_client_id": marked("Client id of Trakt"),
    "trakt_client_secret": marked("Client secret of Trakt"),
    "trakt_url": marked("Address of Trakt"),
    "trakt_sync_only": marked("Ratings from Trakt do not shape tastes"),
    "ratings_to_server": marked("Write ratings to Jellyfin"),
    "backup_folder": marked("Folder for backups"),
    "backup_keep": marked("Backups to keep"),
    "backup_before_migration": marked("Backup before an upgrade of the database"),
    "keep_logs_days": marked("Days that logs are kept"),
    "keep_runs_days": marked("Days that runs are kept"),
    "forget_after_days": marked("Days until somebody who left is forgotten"),
}
"""Names in words."""
EFFECTS: Mapping[str, str] = {
    "media_server_url": marked(
        "Everything is read from the media server at this address. Nobody can sign in if it is another server "
        "than the one whose lists are here."
    ),
    "media_server_api_key": marked(
        "If the media server refuses the key, nothing new is read and nothing is published until it is corrected."
    ),
    "ui_host": marked(
        "These pages are then at another address. If it is wrong, only somebody at the machine can correct it."
    ),
    "ui_port": marked("These pages are then at another port."),
    "ui_trusted_proxies": marked("Limits for guessing passwords then count by what these proxies say."),
    "secret_key": marked(
        "Connections with Trakt and addresses for letters that were encrypted with the old key are lost; "
        "members enter them again."
    ),
    "session_key": marked("Everybody has to sign in again, and rows on home screens need their new address."),
    "timezone": marked("All jobs then start by the clock of this time zone."),
    "schedules": marked("Jobs then start at these times."),
    "schedules_enabled": marked("This is for schedules that nobody has switched in Dagster's UI."),
    "alert_urls": marked("Problems are reported there from then on, and no longer to the old addresses."),
    "libraries": marked("Titles of other libraries leave all lists with the next sync. What was watched is kept."),
    "exclude_libraries": marked(
        "Titles of these libraries leave all lists with the next sync. What was watched is kept."
    ),
    "include_users": marked("Nobody else gets lists from then on. What they watched is kept."),
    "exclude_users": marked("They get no lists from then on. What they watched is kept."),
    "tmdb_language": marked("Titles are asked for in this language when they are due; that takes weeks."),
    "embedder": marked(
        "All texts are embedded anew. Lists are made with the old vectors until the new ones are there."
    ),
    "embedder_model": marked(
        "All texts are embedded anew. Lists are made with the old vectors until the new ones are there."
    ),
    "publish": marked(
        "Lists are placed on the media server, or removed from it, with the next run of the jobs that publish."
    ),
    "publish_root": marked("Published libraries move to this folder. The media server must see it."),
    "publish_as": marked("Published libraries are made anew in this way."),
    "publish_lists": marked("What is no longer named here is removed from the media server."),
    "publish_names": marked(
        "Published lists are renamed; members may have to choose them again for their home screen."
    ),
    "country": marked("Certifications, releases and streaming services of this country count from then on."),
    "requests_per_week": marked("Titles are requested through Seerr without asking anybody, up to this number."),
    "backup_keep": marked("Older backups are deleted after the next one has been proven."),
    "backup_folder": marked(
        "Accept the folder once with the command aperture backup create --accept-folder; until then, no backup is made."
    ),
    "forget_after_days": marked("What is known of users who left longer ago is deleted, and does not come back."),
    "keep_runs_days": marked("Older runs are deleted with the next housekeeping."),
    "keep_logs_days": marked("Older logs are deleted with the next housekeeping."),
    "embedder_url": marked("Texts of titles are sent to this address."),
}
"""What a change does beyond taking effect."""
