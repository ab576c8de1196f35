"""The store: everything that lies in SQL, and the only room that knows SQLAlchemy."""
