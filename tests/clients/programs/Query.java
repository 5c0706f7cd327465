/** JDBC: one query. */
public class Query {
    public static void main(String[] arguments) throws Exception {
        try (var connection = java.sql.DriverManager.getConnection(arguments[0]);
                var found = connection.createStatement().executeQuery("select 'pod'")) {
            found.next();
            System.out.println(found.getString(1));
        }
    }
}
